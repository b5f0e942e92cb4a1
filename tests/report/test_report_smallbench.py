"""The SmallBench section: means over seeds, an uncertainty that seeds do not shrink, and nothing without probes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paramalloc.report.load import load_results
from paramalloc.report.results_page import render_results
from paramalloc.report.sections.smallbench import smallbench_section
from paramalloc.report.variants import variant_results
from paramalloc.results import FINALISTS, RANKING


def task(accuracy: float, auroc: float | None) -> dict[str, Any]:
    return {
        "n": 200, "majority_baseline": 0.53, "accuracy": accuracy, "accuracy_se": 0.035, "auroc": auroc,
        "auroc_se": None, "mean_probability_correct": 0.52, "mean_margin_nats": 0.1,
    }  # fmt: skip


def test_a_row_for_each_task_and_finalist_with_means_over_seeds(new_sweep: Callable[..., Any]) -> None:
    sweep = new_sweep([{"name": "emb35"}, {"name": "emb25", "embedding_ratio": 0.25}])
    sweep.begin()
    for name in ("emb35", "emb25"):
        sweep.trial(RANKING, name, final_ppl=300.0, smallbench={"sst2": task(0.99, 0.99)})
    for seed, (accuracy, auroc) in enumerate([(0.50, 0.60), (0.60, None)]):
        sweep.trial(FINALISTS, "emb35", final_ppl=80.0, seed=seed, smallbench={"sst2": task(accuracy, auroc)})
    results = load_results(sweep.folder)
    _, table = smallbench_section(variant_results(results))
    rows = [line for line in table.splitlines() if line.startswith("| sst2")]
    assert rows == ["| sst2 | emb35 | 200 | 55.0% ± 3.5% | 53.0% | 0.600 | 0.520 |"]  # emb25 has not been a finalist
    assert "no variant is ranked by it" in table
    assert "## SmallBench" in render_results(results, [])


def test_there_is_no_section_without_probes(embed_sweep: Any) -> None:
    assert smallbench_section(variant_results(load_results(embed_sweep.folder))) == []
