"""The report's section on equal budgets: finished runs read at the same tokens, training FLOPs and bytes of text.

Always holds: scores are those of history.jsonl, on the slice of dev; a budget is the largest that all finished runs
of the stage reached; a score read between two evaluations is marked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from paramalloc.formats import DASH, millions, perplexity_text, significant
from paramalloc.report.blocks import markdown_table
from paramalloc.report.load import SweepResults, Trial
from paramalloc.report.variants import VariantResult, measure, spread
from paramalloc.results import JUDGED_BY
from paramalloc.statistics.comparison import Effect, compare_all
from paramalloc.statistics.equal_budget import Point, Reading, common_budget, read_at

_INTERPOLATED = "\N{TILDE OPERATOR}"
Runs = Mapping[str, Mapping[int, Trial]]  # finished runs by variant, then by seed


@dataclass(frozen=True)
class Budget:
    """A way to count what a run has spent: `per_token` by variant, and how an amount is written."""

    name: str
    per_token: Mapping[str, float]
    text: Callable[[float], str]

    def curve(self, variant: str, run: Trial) -> list[Point]:
        return [(row["tokens"] * self.per_token[variant], row[JUDGED_BY]) for row in run.history]


@dataclass(frozen=True)
class EqualBudget:
    """All runs of a stage at one budget: readings by variant and seed, and each challenger's effect."""

    budget: Budget
    amount: float
    readings: dict[str, dict[int, Reading]]
    effects: dict[str, Effect]


def budgets_section(results: SweepResults, variants: list[VariantResult]) -> list[str]:
    """Heading, a table for each stage with two finished variants, and how to read them; else nothing."""
    ranked = {v.name: {0: v.ranking} for v in variants if v.ranking and v.ranking_score}
    blocks = []
    for title, runs in (("Ranking", ranked), ("Finalists", finalist_runs(variants))):
        compared = at_equal_budgets(results, runs)
        if compared:
            blocks += [f"### {title}", _table(compared, variants)]
    if not blocks:
        return []
    unit = "per token of the baseline's tokenizer" if measure(results.config).dev != "dev_ppl" else "per token"
    return ["## Equal budgets", *blocks, _note(results, unit)]


def finalist_runs(variants: list[VariantResult]) -> Runs:
    return {v.name: {run.metrics["seed"]: run for run in v.finished_finals} for v in variants if v.finished_finals}


def at_equal_budgets(results: SweepResults, runs: Runs) -> list[EqualBudget]:
    """The runs at each common budget; empty unless the baseline and another variant have runs with a curve."""
    found = []
    baseline = results.config.baseline_name
    for budget in _budgets(results, runs) if len(runs) > 1 and baseline in runs else []:
        curves = {name: {seed: budget.curve(name, run) for seed, run in of.items()} for name, of in runs.items()}
        amount = common_budget([curve for of in curves.values() for curve in of.values()])
        if amount is None:
            continue
        readings = {
            name: {seed: reading for seed, curve in of.items() if (reading := read_at(curve, amount))}
            for name, of in curves.items()
        }
        logs = {name: {seed: math.log(r.value) for seed, r in of.items()} for name, of in readings.items() if of}
        if baseline in logs:
            found.append(EqualBudget(budget, amount, readings, compare_all(logs, baseline).effects))
    return found


def _budgets(results: SweepResults, runs: Runs) -> list[Budget]:
    plans = {item["name"]: item for item in results.plan["variants"]}
    found = [
        Budget("tokens", dict.fromkeys(runs, 1.0), lambda tokens: f"{millions(tokens)} tokens"),
        Budget("FLOPs", {name: plans[name]["flops_per_token"] for name in runs}, _flops),
    ]
    sizes = _bytes_per_token(results)
    if len({plans[name]["vocab_size"] for name in runs}) > 1 and sizes:
        per_token = {name: sizes[plans[name]["vocab_size"]] for name in runs}
        found.append(Budget("bytes", per_token, lambda count: f"{significant(count / 1e6, 3)} MB of text"))
    return found


def _bytes_per_token(results: SweepResults) -> dict[int, float]:
    """Of the training text, by vocabulary."""
    vocabularies = results.manifest["vocabularies"] if results.manifest else []
    return {item["vocab_size"]: item["splits"]["train"]["bytes_per_token"] for item in vocabularies}


def _table(compared: list[EqualBudget], variants: list[VariantResult]) -> str:
    heads = ["variant"]
    for one in compared:
        heads += [f"PPL at {one.budget.text(one.amount)}", "against the baseline"]
    rows = []
    for variant in variants:
        if any(variant.name in one.readings for one in compared):
            cells = [cell for one in compared for cell in _cells(one, variant.name)]
            rows.append([variant.label, *cells])
    return markdown_table(heads, rows, left=1)


def _cells(one: EqualBudget, name: str) -> list[str]:
    readings = list(one.readings.get(name, {}).values())
    scores = spread([reading.value for reading in readings])
    mark = _INTERPOLATED if any(reading.interpolated for reading in readings) else ""
    effect = one.effects.get(name)
    if effect is None:
        return [mark + perplexity_text(scores.mean, scores.sd), DASH]
    interval = "" if effect.low is None or effect.high is None else f" [{effect.low:+.1%}, {effect.high:+.1%}]"
    return [mark + perplexity_text(scores.mean, scores.sd), f"{effect.improvement:+.1%}{interval}"]


def _note(results: SweepResults, unit: str) -> str:
    one_tokenizer = len({item["vocab_size"] for item in results.plan["variants"]}) == 1
    equal_bytes = " With one tokenizer equal tokens are equal bytes of text." if one_tokenizer else ""
    return (
        f"Dev perplexity {unit} on the slice of dev that the curves are scored on, mean ± sd over seeds. Positive "
        "percentages: lower perplexity than the baseline's; in brackets the 95% interval over seeds. Each budget is "
        f"the largest that every finished run reached.{equal_bytes} {_INTERPOLATED}: read between two evaluations, "
        "where log-perplexity is taken to be linear in the logarithm of the budget. A run read before its end had "
        "not fully decayed its learning rate yet, which puts it at a disadvantage. FLOPs are those of training."
    )


def _flops(count: float) -> str:
    scale, unit = next(((s, u) for s, u in ((1e18, "E"), (1e15, "P"), (1e12, "T")) if count >= s), (1e9, "G"))
    return f"{significant(count / scale, 3)} {unit}FLOPs"
