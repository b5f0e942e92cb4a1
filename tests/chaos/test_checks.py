"""The checks of the chaos suite find what they are there to find, and its figures are what the diary says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paramalloc.files import append_jsonl, atomic_write
from paramalloc.results import RANKING, ResultsFolder
from tests.chaos.checks import (
    bill_problems,
    differences,
    doubled,
    left_behind,
    losses_untold,
    lost_with_notice,
    unexplained,
)
from tests.chaos.figures import Recovery, RunFigures, recoveries, summary, table
from tests.chaos.scene import Struck

BASE = (RANKING, "base")


def row(event: str, time: float, **fields: Any) -> dict[str, Any]:
    about = {"stage": RANKING, "trial": "base"} if event.startswith("trial") else {}
    return {"event": event, "time": time, **about, **fields}


def test_another_number_is_a_difference_and_so_is_a_missing_trial() -> None:
    assert list(differences({"a": 1}, {"a": 1})) == []
    assert list(differences({"a": 1}, {"a": 2})) == ["a differs from the undisturbed run: 1 instead of 2"]
    assert len(list(differences({}, {"a": 2}))) == 1


def test_a_doubled_line_and_a_doubled_decision_are_found(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    for tokens in (100, 200, 200):
        append_jsonl(folder.trial(*BASE).history, {"tokens": tokens})
    for _ in range(2):
        append_jsonl(folder.decisions, {"decision": "kill", "stage": RANKING, "trial": "base"})
    assert list(doubled(folder)) == [
        "ranking/base has doubled or unsorted lines at [100, 200, 200] tokens",
        "decision ('kill', 'ranking', 'base') stands there 2 times",
    ]


def test_an_attempt_that_follows_another_needs_a_reason() -> None:
    begun = [row("trial_start", 1.0), row("trial_end", 2.0), row("trial_start", 3.0)]
    assert list(unexplained(begun)) == ["('ranking', 'base') began again without an event that says why"]
    assert list(unexplained([begun[0], row("trial_lost", 2.0), begun[2]])) == []
    assert list(unexplained([begun[0], row("session_start", 2.0), begun[2]])) == []


def test_a_lost_node_has_to_be_told_by_a_driver_that_lived_long_enough_to_see_it() -> None:
    blow = Struck("node_killed", 10.0, ("n" * 8,), {}, noticed=False)
    later = row("trial_end", 40.0)
    assert list(losses_untold([later], [blow])) == ["node_killed of node nnnnnnnn is no event"]
    told = [row("node_lost", 11.0, node="n" * 8), row("node_down", 11.0, node="n" * 8)]
    assert list(losses_untold([*told, later], [blow])) == []
    assert list(losses_untold([row("session_start", 12.0), later], [blow])) == []


def test_work_that_is_lost_in_spite_of_a_notice_is_found() -> None:
    noticed, killed = (Recovery("a", "ranking/base", noticed, 128, 9.0) for noticed in (True, False))
    assert list(lost_with_notice([killed])) == []
    assert list(lost_with_notice([noticed, killed])) == ["ranking/base lost 128 tokens to a, of which it had notice"]


def test_a_bill_that_does_not_add_up_is_found() -> None:
    line = {"node_seconds": 10.0, "usd": 1.0}
    bill = {
        "node_seconds": 10.0,
        "total_usd": 1.0,
        "by_use": {"idle": line},
        "by_node": [line],
        "by_trial": [],
        "by_stage": [],
    }
    assert list(bill_problems(bill)) == []
    assert list(bill_problems(bill | {"total_usd": 1.05})) == [
        "by_use of COST_SUMMARY.json does not add up to 1.05 usd",
        "by_node of COST_SUMMARY.json does not add up to 1.05 usd",
    ]
    assert len(list(bill_problems(bill | {"by_stage": [line]}))) == 1
    running = {"trial": "base", "status": None, "node_seconds": 0.0}
    assert list(bill_problems(bill | {"by_trial": [running]})) == ["base was billed as if it still ran"]


def test_unfinished_files_are_found_and_the_lock_is_none(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    atomic_write(folder.lock, "")
    assert list(left_behind(folder)) == []
    (folder.trial(*BASE).checkpoints / ".writing-step-1").mkdir(parents=True)
    assert list(left_behind(folder)) == ["ranking/base/checkpoint/.writing-step-1 was left behind"]


def test_a_recovery_is_the_way_from_the_blow_to_the_next_attempt() -> None:
    events = [
        row("trial_start", 1.0),
        row("trial_lost", 6.0),
        row("trial_start", 9.0),
        row("trial_resumed", 9.0, tokens=300),
    ]
    first = Struck("node_killed", 5.0, ("n",), {BASE: 1000}, noticed=False)
    assert recoveries(events, [first]) == [Recovery("node_killed", "ranking/base", False, 700, 4.0)]
    second = Struck("worker_killed", 8.0, (), {BASE: 0}, noticed=False)
    assert [one.kind for one in recoveries(events, [first, second])] == ["worker_killed"]
    elsewhere = Struck("worker_killed", 8.0, (), {(RANKING, "wide"): 0}, noticed=False)
    assert [one.kind for one in recoveries(events, [first, elsewhere])] == ["node_killed"]
    assert recoveries(events[:2], [first]) == []


def test_the_summary_counts_what_was_lost_with_and_without_a_notice() -> None:
    lost = [Recovery("node_killed", "a", False, 700, 4.0), Recovery("notice_by_agent", "a", True, 0, 8.0)]
    runs = [RunFigures("seed 0", ["node_killed"], 30.0, 2, 2, lost), RunFigures("seed 1", [], 9.0, 1, 0, [], ["bad"])]
    found = summary(runs)
    assert (found["runs"], found["runs_with_problems"], found["nodes_lost"]) == (2, 1, 2)
    assert (found["tokens_lost_with_notice"], found["tokens_lost_without_notice"]) == (0, 700)
    assert found["seconds_to_training_again"] == {"median": 6.0, "p95": 8.0}
    assert table(runs).splitlines()[:2] == [
        "2 runs, 1 with problems, 1 over before a blow",
        "3 drivers, 2 nodes lost",
    ]
    assert "0 runs" in table([])
