"""Promotion and verdict on scores whose answer is known."""

from __future__ import annotations

import pytest

from paramalloc.config import FinalistsConfig
from paramalloc.sweep.runbook.selection import SeedScore, decide, promote

RULES = FinalistsConfig()


def runs(*ppls: float, latency: float | None = 10.0, memory: float | None = 100.0) -> dict[int, SeedScore]:
    return {seed: SeedScore(ppl, latency, memory) for seed, ppl in enumerate(ppls)}


def test_only_the_best_is_promoted_when_the_next_is_far_behind() -> None:
    promotion = promote({"base": 30.0, "a": 25.0, "b": 26.0}, "base", RULES)
    assert promotion.variants == ("base", "a")
    assert "b, is 4.0% behind" in promotion.reason


def test_two_are_promoted_when_the_margin_is_thin_but_never_more_than_count() -> None:
    scores = {"base": 30.0, "a": 25.0, "b": 25.1, "c": 25.2}
    assert promote(scores, "base", RULES).variants == ("base", "a", "b")
    assert promote(scores, "base", FinalistsConfig(count=3)).variants == ("base", "a", "b", "c")


def test_the_baseline_is_promoted_when_it_is_best_and_when_it_is_alone() -> None:
    assert promote({"base": 20.0, "a": 25.0}, "base", RULES).variants == ("base", "a")
    assert promote({"base": 20.0}, "base", RULES).variants == ("base",)


def test_a_clear_challenger_wins() -> None:
    verdict = decide({"base": runs(20, 21, 22), "a": runs(18, 18.9, 19.8)}, "base", RULES)
    (comparison,) = verdict.comparisons
    assert verdict.winner == "a"
    assert comparison.improvement == pytest.approx(0.10)
    assert comparison.standard_error == pytest.approx(0.0, abs=1e-12)  # paired: the seeds move together
    assert "10.0%" in verdict.sentence


@pytest.mark.parametrize(
    ("challenger", "why"),
    [
        (runs(19.5, 19.5, 19.5), "less than the 5% asked for"),
        (runs(15, 15, 15, latency=11.0), "latency 1.10 times the baseline's"),
        (runs(15, 15, 15, memory=120.0), "memory 1.20 times the baseline's"),
    ],
)
def test_the_baseline_stands_and_the_sentence_says_why(challenger: dict[int, SeedScore], why: str) -> None:
    verdict = decide({"base": runs(20, 20, 20), "a": challenger}, "base", RULES)
    assert verdict.winner == "base"
    assert why in verdict.sentence


def test_a_cost_that_was_not_measured_does_not_count_against_a_challenger() -> None:
    verdict = decide({"base": runs(20, 20), "a": runs(15, 15, latency=None, memory=None)}, "base", RULES)
    assert verdict.winner == "a"


def test_a_tie_goes_to_the_faster() -> None:
    slow, fast = runs(15.0, 15.2, 15.1, latency=10.2), runs(15.1, 15.1, 15.2, latency=9.0)
    scores = {"base": runs(20.1, 20.0, 20.2), "slow": slow, "fast": fast}
    verdict = decide(scores, "base", RULES)
    assert verdict.winner == "fast"
    assert verdict.sentence.endswith("; slow scored better, but is not told apart from it and not faster.")
    clearly_worse = runs(17.0, 17.1, 17.1, latency=9.0)
    assert decide(scores | {"fast": clearly_worse}, "base", RULES).winner == "slow"


def test_seeds_are_paired_and_a_missing_one_is_left_out() -> None:
    challenger = {1: SeedScore(18.0, 10.0, 100.0)}
    (comparison,) = decide({"base": runs(10, 20, 30), "a": challenger}, "base", RULES).comparisons
    assert comparison.improvement == pytest.approx(0.1)
    assert comparison.standard_error is None
    assert comparison.within_noise


def test_a_challenger_that_did_not_survive_every_seed_does_not_win() -> None:
    """Else the seeds on which it diverged would be left out in its favour."""
    verdict = decide({"base": runs(10, 20, 30), "a": {1: SeedScore(15.0, 10.0, 100.0)}}, "base", RULES)
    assert verdict.winner == "base"
    assert "finished only some of the seeds (not 0, 2)" in verdict.sentence


def test_a_win_says_what_was_not_measured() -> None:
    steady = decide({"base": runs(20, 20, 20), "a": runs(15, 15.1, 15, memory=None)}, "base", RULES)
    assert steady.winner == "a"
    assert "memory not measured" in steady.sentence


def test_luck_with_one_seed_does_not_win() -> None:
    lucky = decide({"base": runs(20, 20, 20), "a": runs(21, 12, 20)}, "base", RULES)
    assert lucky.comparisons[0].improvement > RULES.win_margin
    assert lucky.winner == "base"
    assert lucky.sentence.endswith("lower), which seed noise may account for.")  # and is not said twice


def test_one_seed_is_enough_only_where_one_was_asked_for() -> None:
    scores = {"base": runs(20.0), "a": runs(10.0, 10.1, 10.2)}
    assert decide(scores, "base", FinalistsConfig(seeds=(0,))).winner == "a"
    verdict = decide(scores, "base", RULES)
    assert verdict.winner == "base"
    assert "which cannot be told from seed noise" in verdict.sentence


def test_noise_is_said() -> None:
    verdict = decide({"base": runs(20, 20, 20), "a": runs(21, 18.5, 20)}, "base", RULES)
    assert "within seed noise" in verdict.sentence


def test_a_baseline_without_a_run_is_an_error() -> None:
    with pytest.raises(ValueError, match="base"):
        decide({"a": runs(1)}, "base", RULES)
