"""What is missing, what went wrong, and how far a result reaches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cost import ledger
from paramalloc.report.load import load_results
from paramalloc.report.sections import findings
from paramalloc.report.variants import variant_results
from paramalloc.results import FINALISTS, RANKING


def told(sweep: Any, what: Callable[..., list[str]]) -> str:
    results = load_results(sweep.folder)
    return "\n".join(what(results, variant_results(results)))


@pytest.fixture
def sweep(new_sweep: Callable[..., Any], shares: list[dict[str, Any]]) -> Any:
    sweep = new_sweep(shares[:3])
    sweep.begin(warnings=["a final run passes 20.4 times over the corpus: above 4, use more text"])
    return sweep


def test_missing_names_every_run_that_is_not_there_and_nothing_else(sweep: Any) -> None:
    sweep.trial(RANKING, "emb35", final_ppl=312.0)
    sweep.trial(RANKING, "emb25", final_ppl=300.0, status="unfinished", until_tokens=2_500_000)
    assert told(sweep, findings.missing).splitlines() == [
        "the ranking of emb25 stands at 2.50M of 5.01M tokens",
        "emb45 has not been ranked",
        "no finalists have been chosen",
    ]


def test_missing_counts_the_seeds_of_the_promoted(sweep: Any) -> None:
    for name in ("emb35", "emb25", "emb45"):
        sweep.trial(RANKING, name, final_ppl=312.0)
    sweep.promote({"emb35": 312.0, "emb25": 300.0, "emb45": 330.0})
    for seed in range(3):
        sweep.trial(FINALISTS, "emb35", final_ppl=80.0, seed=seed)
    sweep.trial(FINALISTS, "emb25", final_ppl=78.0, seed=0)
    sweep.trial(FINALISTS, "emb25", final_ppl=78.0, seed=1, status="unfinished", until_tokens=1_000_000)
    assert told(sweep, findings.missing).splitlines() == [
        "emb25 has ended 1 of 3 finalist runs",
        "no winner has been named",
    ]


def test_a_finished_sweep_lacks_nothing_and_tells_its_mishaps(embed_sweep: Any) -> None:
    assert told(embed_sweep, findings.missing) == ""
    (mishap,) = findings.mishaps(load_results(embed_sweep.folder))
    assert mishap == "emb15 diverged in the ranking by 0.50M tokens"


def test_a_failed_trial_is_told_with_the_place_of_its_traceback(sweep: Any) -> None:
    sweep.trial(RANKING, "emb25", final_ppl=300.0, status="failed", until_tokens=0)
    (mishap,) = findings.mishaps(load_results(sweep.folder))
    assert "`ranking/emb25/error.txt`" in mishap


def test_limits_are_computed_from_the_facts(embed_sweep: Any, sweep: Any) -> None:
    said = told(embed_sweep, findings.limits)
    assert "3 seeds for a finalist" in said
    assert "about 50%" in said  # 1 / sqrt(2 * 2)
    assert "emb45 was stopped" in said
    assert "differ by 0.46 PPL" in said  # sd of 81.2, 82.1 and 81.8
    assert "learning rate is 0.001 for all variants and was not searched" in said
    assert "d_model 96 to 276" in said
    assert "SwiGLU expansion (" in said  # asked for alike, rounded differently
    assert "embedding share (" not in said  # that was what was varied
    assert "sees 0.50 tokens per parameter and a final one 5.0, where about 20" in said
    assert "neighbours" not in said  # its trials ran one after the other
    sweep.trial(RANKING, "emb35", final_ppl=312.0)
    sweep.trial(FINALISTS, "emb35", final_ppl=81.0)
    said = told(sweep, findings.limits)
    assert "A finalist with a single finished seed" in said
    assert "A final run passes 20.4 times" in said
    assert "stopped" not in said


def test_a_swept_learning_rate_is_not_called_untuned(new_sweep: Callable[..., Any]) -> None:
    sweep = new_sweep([{"name": "emb35"}, {"name": "emb25", "learning_rate": 3e-4}])
    sweep.begin()
    assert "peak learning rate" not in told(sweep, findings.limits).lower()


def test_trials_that_share_a_node_are_counted_and_said(sweep: Any) -> None:
    for name in ("emb25", "emb45"):
        sweep.start(RANKING, name, name)
    sweep.trial(RANKING, "emb35", final_ppl=312.0)
    sweep.bill(ledger.trial_end, node="laptop", stage=RANKING, trial="emb25", status="killed")
    sweep.start(FINALISTS, "emb35-seed0", "emb35")  # at the very instant at which another ends
    sweep.close()
    assert findings.trials_at_once(load_results(sweep.folder)) == 3
    assert "Up to 3 trials ran at once" in told(sweep, findings.limits)
