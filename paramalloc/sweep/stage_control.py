"""What the driver decides while a stage runs: when to stop, whom to restart, and what it says about waiting.

Always holds: it knows workers by their trials' names only, and time by the clocks it is given; Ray is behind the
functions that it is handed (`kill`, `request_stop`) and behind `NodeWatch`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from cluster import Notice
from paramalloc.sweep.budget import BudgetGuard
from paramalloc.sweep.machines.nodes import NodeWatch, shortage
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.watchdog import Watchdog

GRACE_SECONDS = 30.0  # for every trial to take its step, write its checkpoint and leave
DEAD_NODE_SECONDS = 5.0  # Tune usually notices by itself
SHORTAGE_SECONDS = 2.0  # a machine that is exchanged for another one is no shortage


class StageControl:
    """One stage's decisions, asked for by `tick` about ten times a second.

    Args:
        recorder: of the stage.
        nodes: the machines.
        watchdog: told of every report.
        guard: of the budget.
        cpus, gpus: what one trial holds.
        request_stop: asks all trials to checkpoint and leave.
        kill: ends the worker of a trial at once.
        clock: seconds, monotonic.
        ahead: whether the stage has not come yet, and its trials only take workers that nobody else needs.
    """

    def __init__(
        self,
        recorder: StageRecorder,
        nodes: NodeWatch,
        watchdog: Watchdog,
        guard: BudgetGuard,
        cpus: float,
        gpus: float,
        request_stop: Callable[[], None],
        kill: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        ahead: bool = False,
    ) -> None:
        self.ahead = ahead
        self.recorder, self.nodes, self.watchdog, self.clock = recorder, nodes, watchdog, clock
        self.guard = guard
        self.cpus, self.gpus, self.request_stop, self.kill = cpus, gpus, request_stop, kill
        self.interrupted = False  # set by a signal handler
        self._stop_by: float | None = None
        self._short_since: float | None = None
        self._busy: set[str] = set()  # trials with a worker
        self._on_dead_node: dict[str, float] = {}  # trial -> when that was first seen

    @property
    def stopping(self) -> bool:
        return self._stop_by is not None

    def place_in_line(self, name: str) -> tuple[bool, ...]:
        """Sorts the trials that wait for a worker."""
        return self.ahead, *self.recorder.trials[name].place_in_line

    def wanted(self, name: str, waiting: bool) -> bool:
        """Whether the trial is still to be trained: not over, nor withheld for the budget's sake while it waits."""
        held = not self.guard.room_ahead if self.ahead else name in self.guard.withheld
        return not self.recorder.trials[name].done and not (waiting and held)

    def receive(self, name: str, payload: dict[str, Any]) -> bool:
        """Take in a report. Returns True when the trial has to stop."""
        notice = payload.get("notice")
        if notice:
            self.nodes.called_back(payload["node"], Notice(**notice))
        over = self.recorder.receive(name, payload)
        trial = self.recorder.trials[name]
        self.watchdog.heard(name, unhurried=trial.tokens >= trial.task.budget_tokens)
        return over or (self.stopping and payload["kind"] in ("started", "preempted"))

    def began(self, name: str) -> None:
        """The trial has a worker."""
        self.watchdog.begin(name)
        self._busy.add(name)

    def ended(self, name: str) -> None:
        """The trial's worker has been let go."""
        self.watchdog.end(name)
        self._busy.discard(name)
        self.recorder.ended(name)

    def lost(self, name: str, cause: str) -> None:
        """The trial's worker is gone, and Ray starts another."""
        self.watchdog.end(name)
        self._busy.discard(name)
        node = self.recorder.trials[name].node
        self.recorder.lost(name, "its machine is gone" if node in self.nodes.lost else cause, self.nodes.lost)

    def tick(self) -> bool:
        """Look around once. Returns True when the stage is to end now, whoever still runs."""
        self.nodes.tick()
        if not self.stopping:
            self._restart_the_silent()
            self._restart_the_stranded(self.recorder.running)
            if not self.ahead:
                self._say_what_is_short()
                self.guard.tick(self.recorder, self._busy)
            if self.interrupted or self.recorder.hopeless or self.guard.spent_up:
                self.stop()
        return self._stop_by is not None and (not self.recorder.running or self.clock() >= self._stop_by)

    def stop(self) -> None:
        """Have every trial save and leave; `tick` says when they have, or have had their time."""
        if self.stopping:
            return
        self._stop_by = self.clock() + GRACE_SECONDS
        self.request_stop()
        if self.interrupted:
            self.recorder.journal.say("stopping: trials save their state; once more to stop at once")

    def _restart_the_silent(self) -> None:
        for name, seconds in self.watchdog.silent().items():
            text = f"{name} has been silent for {seconds:.0f} s and is started again"
            self.recorder.journal.tell("trial_silent", text, stage=self._stage, trial=name)
            self.kill(name)

    def _restart_the_stranded(self, running: Iterable[Any]) -> None:
        """Trials that Tune still believes to run on a machine that Ray knows to be dead."""
        now = self.clock()
        stranded = [trial.task.name for trial in running if trial.node in self.nodes.lost]
        self._on_dead_node = {name: self._on_dead_node.get(name, now) for name in stranded}
        for name, since in self._on_dead_node.items():
            if now - since >= DEAD_NODE_SECONDS:
                self._on_dead_node[name] = now
                self.kill(name)

    def _say_what_is_short(self) -> None:
        """Once when no machine could hold a trial for a while, and once when there is one again."""
        recorder, now = self.recorder, self.clock()
        short = shortage(self.cpus, self.gpus, self.nodes.usable) if recorder.missing else None
        if short is None:
            self._short_since = None
            if recorder.waiting_for:
                recorder.waiting_for = None
                recorder.journal.tell("waiting_over", "there is a machine again", stage=self._stage)
                recorder.changed()
            return
        self._short_since = now if self._short_since is None else self._short_since
        if recorder.waiting_for is None and now - self._short_since >= SHORTAGE_SECONDS:
            recorder.waiting_for = short
            count = len(recorder.missing)
            text = f"waiting: {'a trial' if count == 1 else f'each of {count} trials'} {short}"
            recorder.journal.tell("waiting", text, stage=self._stage)
            recorder.changed()

    @property
    def _stage(self) -> str:
        return next(iter(self.recorder.trials.values())).task.stage
