"""What a preemption costs, as the benchmark sums it up."""

from __future__ import annotations

from benchmarks.recovery import KILL, Recovery, summary


def struck(tokens: int, resumed: int, seconds: float) -> Recovery:
    return Recovery(KILL, "base", 100.0, tokens, 100.0 + seconds, resumed)


def test_tokens_are_lost_back_to_the_checkpoint_and_never_less_than_none() -> None:
    assert struck(90_000, 60_000, 1.0).lost_tokens == 30_000
    assert struck(60_000, 61_000, 1.0).lost_tokens == 0  # saved after the evaluation that was seen last


def test_the_summary_has_medians_and_the_worst() -> None:
    found = [struck(90_000, 60_000, 4.0), struck(50_000, 50_000, 2.0), struck(20_000, 10_000, 9.0)]
    assert summary(found) == {
        "rounds": 3,
        "median_seconds": 4.0,
        "longest_seconds": 9.0,
        "median_lost_tokens": 10_000,
        "most_lost_tokens": 30_000,
    }
