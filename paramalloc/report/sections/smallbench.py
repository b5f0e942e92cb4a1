"""The report's section on SmallBench: what the zero-shot probes show of each finalist, and how little that may be.

Always holds: values are means over a variant's finished finalist runs; an uncertainty is that of the examples, which
are the same for every seed, so it does not shrink with more seeds.
"""

from __future__ import annotations

from statistics import mean

from paramalloc.formats import percent, significant
from paramalloc.report.blocks import markdown_table
from paramalloc.report.load import Json
from paramalloc.report.variants import VariantResult

_HEADS = ["task", "variant", "examples", "accuracy", "majority answer", "AUROC", "mean p(right answer)"]
_NOTE = (
    "Zero-shot, by log-likelihood of the answers; accuracy ± standard error over the examples, means over seeds. "
    "Always giving the most frequent answer scores what stands under *majority answer*; an AUROC of 0.5 is guessing. "
    "At this size accuracy mostly shows which answer a model prefers, so no variant is ranked by it."
)


def smallbench_section(variants: list[VariantResult]) -> list[str]:
    """Heading, table and note; nothing where no finalist was probed."""
    probed = {variant.name: _results(variant) for variant in variants}
    tasks = dict.fromkeys(task for results in probed.values() for result in results for task in result)
    rows = [
        _row(task, name, [result[task] for result in results if task in result])
        for task in tasks
        for name, results in probed.items()
        if any(task in result for result in results)
    ]
    return ["## SmallBench", markdown_table(_HEADS, rows, left=2) + "\n\n" + _NOTE] if rows else []


def _results(variant: VariantResult) -> list[Json]:
    return [trial.metrics["smallbench"] for trial in variant.finished_finals if trial.metrics["smallbench"]]


def _row(task: str, variant: str, runs: list[Json]) -> list[str]:
    def average(field: str) -> float | None:
        known = [run[field] for run in runs if run[field] is not None]
        return mean(known) if known else None

    return [
        task,
        variant,
        str(runs[0]["n"]),
        f"{percent(average('accuracy'))} ± {percent(average('accuracy_se'))}",
        percent(average("majority_baseline")),
        significant(average("auroc"), 3),
        significant(average("mean_probability_correct"), 3),
    ]
