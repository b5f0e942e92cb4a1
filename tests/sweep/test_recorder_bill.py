"""What the recorder bills: work that was lost, attempts that a dead driver left open, verdicts that came late."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.played_trials import row
from cost.ledger import heartbeat
from paramalloc.results import JUDGED_BY, RANKING
from paramalloc.sweep import recorder
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.outlook import Outlook
from tests.sweep.played import POINTS, PlayedSweep, play


def bill_of(sweep: PlayedSweep, trial: str) -> dict[str, Any]:
    (line,) = [line for line in sweep.journal.cost_summary()["by_trial"] if line["trial"] == trial]
    return dict(line)


def savings_of(sweep: PlayedSweep) -> dict[str, int]:
    """The tokens that each killed trial of 12,000 is said to have spared."""
    sweep.journal.look_ahead = lambda: Outlook(budget_tokens={(RANKING, name): 12_000 for name in ("base", "wide")})
    lines = sweep.journal.cost_summary()["savings"]["kill_rule_against_running_on"]["by_trial"]
    return {line["trial"]: line["tokens_not_trained"] for line in lines}


def test_a_notice_costs_nothing_and_a_lost_worker_what_came_after_the_state_that_was_kept(sweep: PlayedSweep) -> None:
    called = {"kind": "preempted", "reason": "spot notice", "by_notice": True, "step": 16, "tokens": 2_048}
    sweep.begin("base")
    sweep.recorder.receive("base", called)
    sweep.recorder.lost("base", "called back", set())
    sweep.begin("base", resumed_at_tokens=2_048)
    sweep.evaluate("base", 4_000, 10.0)
    sweep.evaluate("base", 6_000, 10.0)
    sweep.recorder.lost("base", "it died", set())
    sweep.begin("base", resumed_at_tokens=5_000, history=[row(2_000, 10.0), row(4_000, 10.0)])
    play(sweep, "base", 10.0, range(6_000, 14_000, 2_000))
    sweep.finish("base")
    ends = [event["lost_seconds"] for event in sweep.events("trial_end")]
    (first,) = sweep.events("trial_preempted")
    (death,) = sweep.events("trial_lost")
    assert first["tokens"] == 2_048
    assert ends[0] == 0.0
    # Half of the way from 4,000 to 6,000 tokens was kept, and all up to there.
    assert 0.5 <= ends[1] < death["time"] - first["time"]
    assert sweep.metrics("base")["lost_seconds"] == ends[1]
    assert sweep.metrics("base")["preemptions"] == 2
    bill = sweep.journal.cost_summary()
    assert bill["by_use"]["lost_to_preemption"]["node_seconds"] > 0
    assert sweep.history("base") == [2_000, 4_000, *range(6_000, 14_000, 2_000)]


def test_what_a_dead_driver_left_open_is_billed_as_lost_from_the_state_that_was_kept(sweep: PlayedSweep) -> None:
    sweep.begin("base")
    play(sweep, "base", 10.0, range(2_000, 8_000, 2_000))
    sweep.journal.bill(heartbeat)
    ended = sweep.journal.clock() - 1
    sweep.again()
    sweep.begin("base", resumed_at_tokens=2_000, history=[row(2_000, 10.0)])
    began, (end,) = sweep.events("trial_start")[0]["time"], sweep.events("trial_end")
    assert end["session"] == sweep.events("session_start")[0]["session"]
    assert end["lost_seconds"] == pytest.approx(ended - began - 2)  # 2,000 tokens at a thousand per second were kept


@pytest.mark.parametrize("new_driver", ["never", "before the verdict", "after the verdict"])
def test_a_verdict_after_the_end_makes_useful_work_killed_work_and_saves_nothing(
    sweep: PlayedSweep, new_driver: str
) -> None:
    sweep.begin("wide")
    play(sweep, "wide", 16.0)
    sweep.finish("wide")
    useful = bill_of(sweep, "wide")
    assert set(useful["by_use"]) == {"useful"}
    if new_driver == "before the verdict":
        sweep.again()
    sweep.begin("base")
    play(sweep, "base", 10.0)
    if new_driver == "after the verdict":
        sweep.again()
    killed = bill_of(sweep, "wide")
    assert (killed["status"], set(killed["by_use"])) == ("killed", {"killed_by_rule"})
    assert (killed["tokens"], killed["node_seconds"]) == (12_000, useful["node_seconds"])
    assert savings_of(sweep) == {"wide": 0}
    assert sweep.metrics("wide")["ran_on"] == {"tokens": 12_000, JUDGED_BY: 9.0}


def test_what_a_dead_driver_left_open_is_not_cut_short_by_a_verdict_on_its_session(sweep: PlayedSweep) -> None:
    sweep.begin("wide")
    play(sweep, "wide", 16.0)
    sweep.finish("wide")
    sweep.begin("slow")
    sweep.journal.bill(heartbeat)
    last = sweep.events("heartbeat")[-1]["time"]
    sweep.again()
    sweep.begin("base")
    play(sweep, "base", 10.0)  # so that wide is billed again, in the first session
    sweep.again()
    sweep.begin("slow", resumed_at_tokens=0)
    (end,) = [row for row in sweep.events("trial_end") if row["trial"] == "slow"]
    assert end["time"] == last


CALLED = {"kind": "preempted", "reason": "spot notice", "by_notice": True, "step": 80, "tokens": 10_000}


def leave(sweep: PlayedSweep, how: str) -> None:
    """wide is no longer on its machine."""
    if how == "preempted":
        sweep.recorder.receive("wide", CALLED)
    elif how == "lost":
        sweep.recorder.lost("wide", "it died", set())
    elif how == "interrupted":
        sweep.recorder.interrupted("wide")
    elif how == "told to stop":
        sweep.recorder.ended("wide")


@pytest.mark.parametrize("new_driver", [False, True])
@pytest.mark.parametrize("how", ["preempted", "lost", "interrupted", "told to stop"])
def test_a_verdict_saves_only_what_was_not_trained_by_then_however_the_trial_left(
    sweep: PlayedSweep, how: str, new_driver: bool
) -> None:
    sweep.begin("wide")
    play(sweep, "wide", 16.0, range(2_000, 12_000, 2_000))
    if how != "told to stop":
        leave(sweep, how)
    sweep.journal.bill(heartbeat)
    if new_driver:
        sweep.again()
    sweep.begin("base")
    play(sweep, "base", 10.0)
    leave(sweep, how)
    for _ in range(2):
        line = bill_of(sweep, "wide")
        assert (line["status"], line["tokens"], savings_of(sweep)) == ("killed", 10_000, {"wide": 2_000})
        assert set(line["by_use"]) <= {"killed_by_rule", "lost_to_preemption"}
        assert line["by_use"]["killed_by_rule"]["node_seconds"] > 0
        sweep.again()


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("broken", ["trial_end", "metrics.json", "history.jsonl"])
def test_a_driver_that_dies_while_it_closes_a_late_loser_invents_no_savings(
    sweep: PlayedSweep, monkeypatch: pytest.MonkeyPatch, broken: str, finished: bool
) -> None:
    """Killed before one of its three writes; the next driver has the same numbers as if nothing had happened."""
    places = {
        "trial_end": (Journal, "bill"),
        "metrics.json": (recorder, "write_json"),
        "history.jsonl": (recorder, "write_jsonl"),
    }
    sweep.begin("wide")
    play(sweep, "wide", 16.0, range(2_000, 14_000 if finished else 12_000, 2_000))
    if finished:
        sweep.finish("wide")
    sweep.begin("base")

    def go_on() -> None:
        for tokens in POINTS:
            if tokens == 6_000:
                patch.setattr(*places[broken], die)
            sweep.evaluate("base", tokens, 10.0)
        sweep.recorder.ended("wide")

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        go_on()
    sweep.again()
    sweep.begin("base", resumed_at_tokens=4_000, history=[row(2_000, 10.0), row(4_000, 10.0)])
    play(sweep, "base", 10.0, range(6_000, 14_000, 2_000))
    reached = 12_000 if finished else 10_000
    assert sweep.metrics("wide")["ran_on"]["tokens"] == reached
    assert sweep.history("wide") == [2_000, 4_000, 6_000]
    assert savings_of(sweep) == {"wide": 12_000 - reached}


def die(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_verdict_on_a_trial_that_still_ran_saves_only_what_it_had_not_trained_by_then(sweep: PlayedSweep) -> None:
    sweep.begin("wide")
    play(sweep, "wide", 16.0, range(2_000, 12_000, 2_000))
    sweep.begin("base")
    play(sweep, "base", 10.0)
    sweep.recorder.ended("wide")
    assert savings_of(sweep) == {"wide": 2_000}
    sweep.again()
    assert savings_of(sweep) == {"wide": 2_000}


def test_an_attempt_that_an_earlier_driver_ended_in_order_is_not_billed_again(sweep: PlayedSweep) -> None:
    sweep.begin("base")
    sweep.evaluate("base", 2_000, 10.0)
    sweep.recorder.interrupted("base")
    sweep.again()
    sweep.begin("base", resumed_at_tokens=2_000, history=[row(2_000, 10.0)])
    assert len(sweep.events("trial_end")) == 1
