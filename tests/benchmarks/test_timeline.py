"""Where a sweep's time went, by hand on a diary of a few rows."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.timeline import attempts, time_line


def row(event: str, time: float, stage: str = "", trial: str = "") -> dict[str, Any]:
    return {"event": event, "time": time, "stage": stage, "trial": trial}


def attempt(stage: str, trial: str, start: float, end: float) -> list[dict[str, Any]]:
    return [row("trial_start", start, stage, trial), row("trial_end", end, stage, trial)]


# Two slots: checks from 11 to 14, a ranking of 20 and of 10 seconds, a pause of 5, one final of 10.
DIARY = [
    row("node_up", 10.0),
    *attempt("sanity", "overfit-base", 11.0, 14.0),
    *attempt("ranking", "base", 20.0, 40.0),
    *attempt("ranking", "wide", 20.0, 30.0),
    *attempt("finalists", "base-seed0", 45.0, 55.0),
]


def test_the_spans_are_told_apart_and_add_up_to_the_whole() -> None:
    spans = {span.name: span.seconds for span in time_line(DIARY, 2.0, 60.0, slots=2)}
    assert spans == {
        "before Ray's machine is there": 8.0,
        "sanity checks": 4.0,
        "until the first trial": 6.0,
        "trials": 20.0,  # 40 slot seconds
        "slots without a trial": 10.0,  # 10 of one slot in the ranking, 10 in the final
        "between stages, no trial at all": 5.0,
        "after the last trial: measuring, report": 5.0,
    }
    assert sum(spans.values()) == 58.0


def test_without_checks_the_wait_for_the_first_trial_begins_with_the_machine() -> None:
    rows = [row("node_up", 10.0), *attempt("ranking", "base", 20.0, 40.0)]
    spans = {span.name: span.seconds for span in time_line(rows, 10.0, 40.0, slots=1)}
    assert (spans["sanity checks"], spans["until the first trial"]) == (0.0, 10.0)


def test_an_attempt_without_an_end_is_left_out_and_a_second_one_counts_by_itself() -> None:
    rows = [
        *attempt("ranking", "base", 1.0, 2.0),
        row("trial_start", 3.0, "ranking", "base"),
        row("trial_start", 3.0, "ranking", "wide"),
        row("trial_end", 7.0, "ranking", "base"),
    ]
    assert attempts(rows) == [(1.0, 2.0), (3.0, 7.0)]


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_more_slots_idle_more(slots: int) -> None:
    spans = {span.name: span.seconds for span in time_line(attempt_alone(), 0.0, 9.0, slots)}
    assert spans["slots without a trial"] == pytest.approx(8.0 * (1 - 1 / slots))


def attempt_alone() -> list[dict[str, Any]]:
    return [row("node_up", 0.0), *attempt("ranking", "base", 1.0, 9.0)]
