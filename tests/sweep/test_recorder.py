"""The driver's bookkeeping without Ray: histories, late verdicts, lost workers, and a new driver's memory."""

from __future__ import annotations

import pytest

from benchmarks.played_trials import row
from paramalloc.files import append_jsonl, read_jsonl, write_json
from paramalloc.results import JUDGED_BY, RANKING
from paramalloc.sweep.trials.attempts import MAX_DEATHS
from tests.sweep.played import FAILED, POINTS, PlayedSweep, play


def test_a_trial_that_loses_is_told_to_stop_and_closed_where_it_lost(sweep: PlayedSweep) -> None:
    sweep.begin("base")
    play(sweep, "base", 10.0)
    sweep.begin("wide")
    assert play(sweep, "wide", 16.0) == [False, False, True, True, True, True]
    sweep.recorder.ended("wide")
    assert sweep.metrics("wide")["status"] == "killed"
    assert sweep.metrics("wide")["tokens"] == 6_000
    assert sweep.history("wide") == [2_000, 4_000, 6_000]
    assert sweep.said == [
        "wide killed at 6,000 tokens: 6.0 above base for 4,000 tokens",
        "wide had been trained to 12,000 tokens by then",  # as it does not listen
    ]


def test_a_finished_trial_is_still_killed_when_the_baseline_shows_that_it_had_lost(sweep: PlayedSweep) -> None:
    """So the verdict is the same whichever of the two was slow, or was preempted."""
    sweep.begin("wide")
    assert not any(play(sweep, "wide", 16.0))
    sweep.finish("wide")
    sweep.recorder.ended("wide")
    assert sweep.metrics("wide")["status"] == "finished"
    sweep.begin("base")
    play(sweep, "base", 10.0)
    assert sweep.metrics("wide")["status"] == "killed"
    assert sweep.metrics("wide")["dev_ppl"] is None
    assert sweep.history("wide") == [2_000, 4_000, 6_000]
    assert sweep.metrics("wide")["ran_on"] == {"tokens": 12_000, JUDGED_BY: 9.0}
    assert sweep.said[-1] == "wide had been trained to its end by then"


def test_a_trial_that_trained_past_the_point_where_it_lost_is_cut_there_and_says_how_far_it_came(
    sweep: PlayedSweep,
) -> None:
    sweep.begin("wide")
    play(sweep, "wide", 16.0, range(2_000, 12_000, 2_000))
    sweep.begin("base")
    play(sweep, "base", 10.0)
    sweep.recorder.ended("wide")
    assert sweep.metrics("wide")["tokens"] == 6_000
    assert sweep.metrics("wide")["ran_on"] == {"tokens": 10_000, JUDGED_BY: None}
    assert sweep.said[-1] == "wide had been trained to 10,000 tokens by then"
    sweep.finish("base")
    assert sweep.metrics("base")["ran_on"] is None


def test_a_restarted_trial_rewinds_its_history_to_its_checkpoint_and_doubles_nothing(sweep: PlayedSweep) -> None:
    sweep.begin("base")
    play(sweep, "base", 10.0, range(2_000, 10_000, 2_000))
    sweep.recorder.interrupted("base")
    sweep.begin("base", resumed_at_tokens=4_000, history=[row(2_000, 10.0), row(4_000, 10.0)])
    assert sweep.history("base") == [2_000, 4_000]
    play(sweep, "base", 10.0, range(6_000, 14_000, 2_000))
    sweep.finish("base")
    assert sweep.history("base") == list(POINTS)
    assert sweep.metrics("base")["preemptions"] == 0  # the driver stopped it, no machine was lost
    assert any("carries on at 4,000 tokens" in text for text in sweep.said)


def test_rows_that_a_dead_driver_never_wrote_come_back_with_the_checkpoint(sweep: PlayedSweep) -> None:
    sweep.begin("base")
    play(sweep, "base", 10.0, range(2_000, 4_000, 2_000))
    sweep.again()
    sweep.begin("base", resumed_at_tokens=6_000, history=[row(t, 10.0) for t in (2_000, 4_000, 6_000)])
    assert sweep.history("base") == [2_000, 4_000, 6_000]


def test_a_new_driver_has_the_same_rule_and_runs_only_what_is_missing(sweep: PlayedSweep) -> None:
    sweep.begin("base")
    play(sweep, "base", 10.0)
    sweep.finish("base")
    sweep.begin("wide")
    play(sweep, "wide", 16.0, range(2_000, 6_000, 2_000))
    sweep.again()
    assert [task.name for task in sweep.recorder.missing] == ["wide", "slow"]
    sweep.begin("wide", resumed_at_tokens=4_000, history=[row(2_000, 16.0), row(4_000, 16.0)])
    assert sweep.evaluate("wide", 6_000, 16.0)
    sweep.recorder.ended("wide")
    assert sweep.kills() == ["wide"]


def test_a_driver_that_died_between_verdict_and_closing_closes_when_it_returns(sweep: PlayedSweep) -> None:
    sweep.begin("base")
    play(sweep, "base", 10.0)
    sweep.finish("base")
    sweep.begin("wide")
    play(sweep, "wide", 16.0, range(2_000, 8_000, 2_000))
    assert not sweep.folder.trial(RANKING, "wide").metrics.exists()
    sweep.again()
    metrics = sweep.metrics("wide")
    assert (metrics["status"], metrics["device"], metrics["precision"]) == ("killed", "cpu", "fp32")
    assert sweep.kills() == ["wide"]  # once, not again for the second driver
    assert [task.name for task in sweep.recorder.missing] == ["slow"]
    ends = [row for row in read_jsonl(sweep.folder.events) if row["event"] == "trial_end" and row["trial"] == "wide"]
    assert [row["status"] for row in ends] == ["killed"]


def test_a_torn_last_line_of_a_history_costs_only_that_line(sweep: PlayedSweep) -> None:
    sweep.begin("base")
    play(sweep, "base", 10.0, range(2_000, 6_000, 2_000))
    path = sweep.folder.trial(RANKING, "base").history
    path.write_bytes(path.read_bytes()[:-20])
    sweep.again()
    assert sweep.history("base") == [2_000]
    append_jsonl(path, row(4_000, 10.0))
    assert sweep.history("base") == [2_000, 4_000]


def test_a_diverged_trial_is_closed_at_once(sweep: PlayedSweep) -> None:
    sweep.begin("wide")
    assert sweep.recorder.receive("wide", {"kind": "diverged", "step": 20, "tokens": 2_560})
    assert sweep.metrics("wide")["status"] == "diverged"
    assert sweep.metrics("wide")["tokens"] == 2_560
    assert sweep.metrics("wide")["train_loss"] is None


def test_a_trial_that_breaks_down_is_tried_once_more_and_then_failed_with_its_traceback(sweep: PlayedSweep) -> None:
    sweep.begin("wide")
    assert not sweep.recorder.receive("wide", FAILED)
    assert not sweep.folder.trial(RANKING, "wide").metrics.exists()
    sweep.recorder.lost("wide", "its own error", set())
    sweep.begin("wide")
    assert sweep.recorder.receive("wide", FAILED)
    assert sweep.folder.trial(RANKING, "wide").error.read_text() == "Traceback: no\n"
    assert sweep.metrics("wide")["status"] == "failed"
    assert sweep.events("trial_lost") == []
    assert not sweep.recorder.hopeless


def test_a_trial_whose_second_try_succeeds_keeps_no_error(sweep: PlayedSweep) -> None:
    sweep.begin("base")
    sweep.recorder.receive("base", FAILED)
    assert sweep.folder.trial(RANKING, "base").error.exists()
    sweep.begin("base")
    play(sweep, "base", 10.0)
    sweep.finish("base")
    assert sweep.metrics("base")["status"] == "finished"
    assert not sweep.folder.trial(RANKING, "base").error.exists()


def test_the_same_first_error_in_two_trials_stops_the_sweep_and_another_does_not(sweep: PlayedSweep) -> None:
    for trial in ("base", "wide", "slow"):
        sweep.begin(trial)
    sweep.recorder.receive("base", FAILED)
    sweep.recorder.receive("wide", FAILED | {"place": "loop.py:8 in step"})
    assert not sweep.recorder.hopeless
    sweep.recorder.receive("slow", FAILED)
    assert sweep.recorder.hopeless
    assert sweep.recorder.epidemic == "base and slow broke down in the same way: ValueError: no (loop.py:7 in step)"


def test_a_worker_that_dies_again_and_again_without_progress_is_a_failure(sweep: PlayedSweep) -> None:
    for death in range(MAX_DEATHS):
        assert sweep.recorder.trials["wide"].status == "waiting", death
        sweep.recorder.lost("wide", "out of memory", set())
    assert sweep.metrics("wide")["status"] == "failed"
    assert sweep.metrics("wide")["device"] is None
    assert "died 5 times at 0 tokens" in sweep.folder.trial(RANKING, "wide").error.read_text()


def test_lost_machines_and_deaths_with_progress_between_them_never_make_a_failure(sweep: PlayedSweep) -> None:
    lost: set[str] = set()
    for tokens in range(2_000, 2_000 * 2 * MAX_DEATHS, 2_000):
        sweep.begin("wide")
        sweep.evaluate("wide", tokens, 10.0)
        sweep.recorder.lost("wide", "it died", lost)
    for number in range(2 * MAX_DEATHS):
        sweep.begin("wide", node=f"n{number}")
        lost.add(f"n{number}")
        sweep.recorder.lost("wide", "its machine is gone", lost)
    assert sweep.recorder.trials["wide"].status == "waiting"


def test_the_last_report_given_twice_changes_nothing(sweep: PlayedSweep) -> None:
    """Ray repeats a trial's last report when its function returns."""
    sweep.begin("base")
    play(sweep, "base", 10.0)
    sweep.finish("base")
    before = {path: path.read_bytes() for path in sweep.folder.root.rglob("*") if path.is_file()}
    assert sweep.finish("base")
    assert before == {path: path.read_bytes() for path in sweep.folder.root.rglob("*") if path.is_file()}


def test_a_trial_that_failed_ahead_of_the_baseline_stays_so_and_in_a_new_session_too(sweep: PlayedSweep) -> None:
    sweep.begin("wide")
    play(sweep, "wide", 16.0)
    sweep.fail("wide")
    sweep.begin("base")
    play(sweep, "base", 10.0)
    assert sweep.metrics("wide")["status"] == "failed"
    sweep.again()
    assert sweep.metrics("wide")["status"] == "failed"
    assert sweep.kills() == []


@pytest.mark.parametrize("new_driver", [False, True])
@pytest.mark.parametrize("first", ["base", "wide"])
def test_a_trial_that_lost_before_it_diverged_was_killed_whoever_came_first(
    sweep: PlayedSweep, first: str, new_driver: bool
) -> None:
    def wide() -> None:
        sweep.begin("wide")
        if not any(sweep.evaluate("wide", tokens, 16.0) for tokens in range(2_000, 10_000, 2_000)):
            sweep.recorder.receive("wide", {"kind": "diverged", "step": 70, "tokens": 9_000})
        sweep.recorder.ended("wide")

    def base() -> None:
        sweep.begin("base")
        play(sweep, "base", 10.0)

    one, other = (base, wide) if first == "base" else (wide, base)
    one()
    if new_driver:
        sweep.again()
    other()
    sweep.again()
    metrics = sweep.metrics("wide")
    assert (metrics["status"], metrics["tokens"], sweep.kills()) == ("killed", 6_000, ["wide"])
    assert sweep.history("wide") == [2_000, 4_000, 6_000]
    assert metrics["ran_on"] == ({"tokens": 9_000, JUDGED_BY: None} if first == "wide" else None)


def test_a_run_of_another_stage_that_is_killed_late_counts_no_tokens_here(sweep: PlayedSweep) -> None:
    sweep.begin("wide")
    play(sweep, "wide", 16.0)
    sweep.finish("wide")
    files = sweep.folder.trial(RANKING, "wide")
    write_json(files.metrics, sweep.metrics("wide") | {"same_run_as": "earlier/wide"})
    sweep.again()
    assert (RANKING, "wide") not in sweep.journal.tokens
    sweep.begin("base")
    play(sweep, "base", 10.0)
    for _ in range(2):
        assert (sweep.metrics("wide")["status"], sweep.metrics("wide")["same_run_as"]) == ("killed", "earlier/wide")
        assert (RANKING, "wide") not in sweep.journal.tokens
        sweep.again()


def test_a_trial_that_diverges_before_it_has_lost_stays_diverged(sweep: PlayedSweep) -> None:
    sweep.begin("wide")
    play(sweep, "wide", 16.0, range(2_000, 6_000, 2_000))
    sweep.recorder.receive("wide", {"kind": "diverged", "step": 40, "tokens": 5_000})
    sweep.begin("base")
    play(sweep, "base", 10.0)
    sweep.again()
    assert (sweep.metrics("wide")["status"], sweep.kills()) == ("diverged", [])


def test_a_failed_trial_is_tried_again_by_a_new_command_from_its_checkpoint(sweep: PlayedSweep) -> None:
    sweep.begin("base")
    checkpoints = sweep.folder.trial(RANKING, "base").checkpoints
    checkpoints.mkdir(parents=True)
    sweep.fail("base", error="No space left")
    assert sweep.recorder.hopeless
    assert checkpoints.exists()
    assert "base" not in [task.name for task in sweep.recorder.missing]
    sweep.again(retry_failed=True)
    assert "base" in [task.name for task in sweep.recorder.missing]
