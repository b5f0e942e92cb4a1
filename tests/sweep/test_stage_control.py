"""What the driver decides while a stage runs, with a recorder, machines and a clock that the test plays."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from cluster import Notice
from paramalloc.sweep.budget import BudgetGuard
from paramalloc.sweep.machines.nodes import Node, NodeWatch
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.stage_control import GRACE_SECONDS, StageControl
from paramalloc.sweep.watchdog import Watchdog

NODE = Node("n1", False, 1.0, 0.0)


class Trial:
    def __init__(self, name: str) -> None:
        self.task = SimpleNamespace(name=name, stage="ranking", budget_tokens=10)
        self.status, self.node, self.tokens = "waiting", "n1", 0
        self.place_in_line = (name != "base", True)

    @property
    def done(self) -> bool:
        return self.status == "finished"


class Recorder:
    def __init__(self) -> None:
        self.trials = {name: Trial(name) for name in ("base", "wide")}
        self.hopeless, self.waiting_for = False, None
        self.told: list[str] = []
        self.journal = SimpleNamespace(
            say=self.told.append, tell=lambda event, text, **fields: self.told.append(text)
        )
        self.lost_because: list[tuple[str, str]] = []

    @property
    def missing(self) -> list[Any]:
        return [trial.task for trial in self.trials.values()]

    @property
    def running(self) -> list[Trial]:
        return [trial for trial in self.trials.values() if trial.status == "running"]

    def receive(self, name: str, payload: dict[str, Any]) -> bool:
        self.trials[name].status = "running" if payload["kind"] in ("started", "evaluation") else "waiting"
        return False

    def lost(self, name: str, cause: str, machines: set[str]) -> None:
        self.lost_because.append((name, cause))

    def ended(self, name: str) -> None: ...

    def changed(self) -> None: ...


class Nodes:
    def __init__(self) -> None:
        self.usable, self.lost = [NODE], set[str]()
        self.called: list[tuple[str, Notice]] = []

    def tick(self) -> None: ...

    def called_back(self, node: str, notice: Notice) -> None:
        self.called.append((node, notice))


class Guard:
    def __init__(self) -> None:
        self.spent_up, self.room_ahead, self.busy, self.looks = False, False, set[str](), 0
        self.withheld = set[str]()

    def tick(self, recorder: Any, busy: set[str]) -> None:
        self.busy, self.looks = set(busy), self.looks + 1


class Stage:
    def __init__(self) -> None:
        self.now, self.killed, self.stop_requests = 0.0, list[str](), 0
        self.recorder, self.nodes, self.guard = Recorder(), Nodes(), Guard()
        self.control = StageControl(
            cast(StageRecorder, self.recorder),
            cast(NodeWatch, self.nodes),
            Watchdog(60.0, 900.0, self.clock),
            cast(BudgetGuard, self.guard),
            cpus=1.0,
            gpus=0.0,
            request_stop=self._request_stop,
            kill=self.killed.append,
            clock=self.clock,
        )

    def clock(self) -> float:
        return self.now

    def _request_stop(self) -> None:
        self.stop_requests += 1

    def later(self, seconds: float) -> bool:
        self.now += seconds
        return self.control.tick()

    def report(self, name: str, kind: str, **fields: Any) -> bool:
        return self.control.receive(name, {"kind": kind, **fields})


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_after_an_interrupt_the_stage_ends_as_soon_as_every_trial_has_saved_and_left(stage: Stage) -> None:
    stage.report("base", "started")
    stage.control.interrupted = True
    assert not stage.later(1.0)
    assert not stage.later(1.0)
    assert stage.stop_requests == 1
    assert not stage.report("base", "evaluation")
    assert not stage.later(1.0)
    assert stage.report("wide", "started")  # one that only now begins is stopped at once
    assert stage.report("wide", "preempted")
    assert stage.report("base", "preempted")
    assert stage.later(1.0)
    assert stage.recorder.told == ["stopping: trials save their state; once more to stop at once"]


def test_a_trial_that_does_not_leave_is_not_waited_for_for_ever(stage: Stage) -> None:
    stage.report("base", "started")
    stage.recorder.hopeless = True
    assert not stage.later(1.0)
    assert not stage.later(GRACE_SECONDS - 1.0)
    assert stage.later(1.0)


def test_a_budget_that_is_spent_has_every_trial_save_and_leave(stage: Stage) -> None:
    stage.report("base", "started")
    stage.guard.spent_up = True
    assert not stage.later(1.0)
    assert stage.stop_requests == 1
    assert stage.report("base", "preempted")
    assert stage.later(1.0)


def test_the_guard_of_the_budget_knows_who_has_a_worker(stage: Stage) -> None:
    for step, busy in (
        (lambda: stage.control.began("base"), {"base"}),  # before it has reported anything
        (lambda: stage.control.began("wide"), {"base", "wide"}),
        (lambda: stage.control.lost("base", "a worker died"), {"wide"}),
        (lambda: stage.control.ended("wide"), set()),
    ):
        step()
        stage.later(1.0)
        assert stage.guard.busy == busy


def test_a_silent_trial_is_killed_once_and_told(stage: Stage) -> None:
    stage.control.began("base")
    for _ in range(3):
        stage.later(1.0)
        stage.report("base", "evaluation")
    stage.later(61.0)
    stage.later(61.0)
    assert stage.killed == ["base"]
    assert stage.recorder.told == ["base has been silent for 61 s and is started again"]


def test_a_trial_on_a_dead_node_is_killed_when_tune_has_not_seen_it_after_a_while(stage: Stage) -> None:
    stage.report("base", "started")
    stage.nodes.lost.add("n1")
    stage.later(1.0)
    stage.later(4.0)
    assert stage.killed == []
    stage.later(1.0)
    assert stage.killed == ["base"]
    stage.recorder.trials["base"].status = "waiting"
    stage.later(10.0)
    assert stage.killed == ["base"]


def test_a_loss_on_a_lost_machine_says_so(stage: Stage) -> None:
    stage.control.lost("base", "a worker died")
    stage.nodes.lost.add("n1")
    stage.control.lost("wide", "a worker died")
    assert stage.recorder.lost_because == [("base", "a worker died"), ("wide", "its machine is gone")]


def test_a_shortage_is_said_once_and_so_is_its_end(stage: Stage) -> None:
    stage.nodes.usable = []
    for _ in range(5):
        stage.later(1.0)
    assert stage.recorder.waiting_for == "needs 1 CPU, cluster has 0"
    stage.nodes.usable = [NODE]
    for _ in range(5):
        stage.later(1.0)
    assert stage.recorder.waiting_for is None
    assert stage.recorder.told == [
        "waiting: each of 2 trials needs 1 CPU, cluster has 0",
        "there is a machine again",
    ]


def test_a_machine_that_is_exchanged_within_a_moment_is_no_shortage(stage: Stage) -> None:
    for usable in ([], [NODE], [], [NODE]):
        stage.nodes.usable = list(usable)
        stage.later(1.0)
    assert stage.recorder.told == []


def test_the_notice_that_called_a_trial_back_reaches_the_machines(stage: Stage) -> None:
    notice = {"action": "terminate", "deadline": 9.0, "noticed_at": 1.0, "kind": "spot"}
    stage.report("base", "preempted", notice=notice, node="n1")
    stage.report("wide", "preempted", notice=None, node="n1")
    assert stage.nodes.called == [("n1", Notice(**notice))]


def test_a_trial_is_wanted_until_it_is_over_and_where_the_budget_withholds_it_only_once_it_runs(stage: Stage) -> None:
    assert stage.control.wanted("base", waiting=True)
    stage.guard.withheld = {"base"}
    assert not stage.control.wanted("base", waiting=True)
    assert stage.control.wanted("base", waiting=False)
    stage.recorder.trials["base"].status = "finished"
    assert not stage.control.wanted("base", waiting=False)


def test_trials_ahead_of_their_stage_wait_behind_all_others_for_a_budget_that_has_room(stage: Stage) -> None:
    present = stage.control.place_in_line("wide")
    stage.control.ahead = True
    assert stage.control.place_in_line("base") > present
    assert not stage.control.wanted("base", waiting=True)
    stage.guard.room_ahead = True
    assert stage.control.wanted("base", waiting=True)


def test_only_the_present_stage_looks_at_the_budget_and_says_what_is_short(stage: Stage) -> None:
    stage.control.ahead = True
    stage.nodes.usable = []
    stage.later(1.0)
    stage.later(10.0)
    assert (stage.guard.looks, stage.recorder.told) == (0, [])
    stage.control.ahead = False
    stage.later(1.0)
    stage.later(10.0)
    assert stage.guard.looks == 2
    assert len(stage.recorder.told) == 1
