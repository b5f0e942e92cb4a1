"""Keeps a sweep within `cost.budget_usd`: warns, starts nothing new, and in the end has everything saved and stopped.

Always holds: what runs is let run until the budget itself is spent; a trial is started only while the bill, all that
runs, the trial itself and the reserve for later stages stay within the budget. Before anything has been
measured nothing is known of what is to come, and only what is spent counts; a trial's first tokens are no measure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cost.budget import Decision, HoldNewTrials, Stop, Warn, decide
from cost.rates import TrialName
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.stopped import BudgetReachedError
from paramalloc.sweep.trials.state import TrialState

LOOK_SECONDS = 15.0
LOOK_SHARE = 0.05  # of the driver's time at most goes into working the bill out
MEASURED_SHARE = 0.05  # of its tokens, before what one trial has cost says what others will
PATIENCE_SECONDS = 300.0  # node time without a price, before anybody is told


@dataclass(frozen=True)
class Allowance:
    """Names of the trials that may start, in their order, and the decision about the first that may not."""

    admitted: tuple[str, ...]
    decision: Decision


def admit(
    spent: float | None, budget: float, running: float, waiting: Sequence[tuple[str, float]], reserve: float
) -> Allowance:
    """How many of the waiting trials may start; all in dollars.

    Args:
        running: what trials that run will still cost.
        waiting: the others by name, in the order in which they would start, with what each will cost.
        reserve: for later stages, the finalists among them.
    """
    admitted: list[str] = []
    committed = running
    for name, usd in waiting:
        committed += usd
        decision = decide(spent, committed, reserve, budget)
        if isinstance(decision, HoldNewTrials | Stop):
            return Allowance(tuple(admitted), decision)
        admitted.append(name)
    return Allowance(tuple(admitted), decide(spent, 0.0, 0.0, budget))


class BudgetGuard:
    """Asks what the budget allows while stages run.

    `withheld`: trials of the present stage that may not start now. `ahead`: a later stage of which trials run
    already, for the caller to set; they may begin while `room_ahead`: the budget has room for everything.

    Args:
        journal: bill, outlook and diary of the sweep.
        clock: seconds, monotonic.
    """

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.monotonic) -> None:
        self.journal, self.clock = journal, clock
        self.withheld: frozenset[str] = frozenset()
        self.ahead: StageRecorder | None = None
        self.room_ahead = False
        self.spent_up = False
        self._pace = _Pace(clock)
        self._next_look = clock()
        self._warned = False

    def require(self) -> None:
        """Errors: BudgetReachedError when the budget is spent, whatever is still to do."""
        summary = self.journal.bill_now({})
        level = self._about_spent(summary)
        if isinstance(level, Stop):
            raise self._reached(level, summary)
        if isinstance(level, Warn):
            self._warn(level, summary)

    def watch(self) -> None:
        """`require` when it is time to look at the bill, while something runs that is no trial of a stage."""
        began = self.clock()
        if began >= self._next_look:
            self.require()
            self._look_again(began)

    def admit(self, recorder: StageRecorder) -> list[str]:
        """The missing trials of a stage that may start now; some may run already.

        Errors: BudgetReachedError when none may, and none runs.
        """
        summary = self.journal.bill_now({})
        busy = {trial.task.name for trial in recorder.running}
        allowance = self._allowance(recorder, summary, busy)
        if not allowance.admitted and not busy:
            raise self._reached(allowance.decision, summary)
        self.withheld, self.spent_up = frozenset(), False
        self._next_look = self.clock() + LOOK_SECONDS
        self._withhold(recorder, allowance, busy)
        return list(allowance.admitted)

    def tick(self, recorder: StageRecorder, busy: Collection[str]) -> None:
        """Look at the bill when it is time to. `busy`: the trials that have a worker, if only since a moment ago."""
        running = [*recorder.running, *(self.ahead.running if self.ahead else ())]
        self._pace.watch(running)
        began = self.clock()
        if began < self._next_look or self.spent_up:
            return
        summary = self.journal.bill_now(self._pace.tokens(running))
        level = self._about_spent(summary)
        if isinstance(level, Stop):
            self.spent_up = True
            self.journal.say(f"budget: {level.text}")
        else:
            if isinstance(level, Warn):
                self._warn(level, summary)
            self._withhold(recorder, self._allowance(recorder, summary, busy), busy)
        self._look_again(began)

    def _look_again(self, began: float) -> None:
        self._next_look = began + max(LOOK_SECONDS, (self.clock() - began) / LOOK_SHARE)

    def _about_spent(self, summary: Mapping[str, Any]) -> Decision:
        return decide(summary["total_usd"], 0.0, 0.0, self.journal.cost.budget_usd)

    def _allowance(self, recorder: StageRecorder, summary: Mapping[str, Any], busy: Collection[str]) -> Allowance:
        to_come = _usd_by_trial(summary) if self._has_measured() else {}
        line = sorted(recorder.trials.values(), key=lambda trial: trial.place_in_line)
        costs = {t.task.name: to_come.get((t.task.stage, t.task.name), 0.0) for t in line if not t.done}
        ahead = {(task.stage, task.name) for task in self.ahead.missing} if self.ahead else set()
        spent, budget = summary["total_usd"], self.journal.cost.budget_usd
        reserve = sum(to_come.get(name, 0.0) for name in self.journal.look_ahead().reserved | ahead)
        whole = decide(spent, sum(costs.values()), reserve, budget)
        self.room_ahead = not isinstance(whole, HoldNewTrials | Stop)
        running = sum(usd for name, usd in costs.items() if name in busy)
        waiting = [(name, usd) for name, usd in costs.items() if name not in busy]
        return admit(spent, budget, running, waiting, reserve)

    def _has_measured(self) -> bool:
        planned = self.journal.look_ahead().budget_tokens
        trained = ((tokens, planned.get(name)) for name, tokens in self.journal.tokens.items())
        return any(whole and tokens >= MEASURED_SHARE * whole for tokens, whole in trained)

    def _withhold(self, recorder: StageRecorder, allowance: Allowance, busy: Collection[str]) -> None:
        """Once a trial is withheld it stays so until the next `admit`: Tune has let go of it."""
        known = {*allowance.admitted, *busy, *self.withheld}
        new = [task.name for task in recorder.missing if task.name not in known]
        if new:
            self.withheld |= frozenset(new)
            text = f"budget: {allowance.decision.text}; not started: {', '.join(new)}"
            self.journal.tell("budget_hold", text, trials=new)

    def _warn(self, decision: Decision, summary: Mapping[str, Any]) -> None:
        unknown = summary["total_usd"] is None
        if not self._warned and not (unknown and summary["unpriced_node_seconds"] < PATIENCE_SECONDS):
            self._warned = True
            self.journal.tell("budget_warning", f"budget: {decision.text}")

    def _reached(self, decision: Decision, summary: Mapping[str, Any]) -> BudgetReachedError:
        """The end of this session, written down."""
        total = (summary["projection"] or {}).get("total_usd")
        enough = f" (about ${math.ceil(total):,} to the end, by what tokens have cost so far)" if total else ""
        text = f"stopped at the budget: {decision.text}"
        self.journal.tell("budget_stop", text, spent_usd=summary["total_usd"], projected_usd=total)
        return BudgetReachedError(
            f"everything is saved; with a higher cost.budget_usd{enough} the same command carries on"
        )


class _Pace:
    """How far running trials are between two evaluations: dollars of now go with tokens of now."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heard: dict[TrialName, tuple[int, float]] = {}  # tokens, and since when that is known

    def watch(self, running: Iterable[TrialState]) -> None:
        for trial in running:
            name = (trial.task.stage, trial.task.name)
            if self._heard.get(name, (None, 0.0))[0] != trial.tokens:
                self._heard[name] = trial.tokens, self._clock()

    def tokens(self, running: Iterable[TrialState]) -> dict[TrialName, int]:
        """By trial, at most one evaluation interval beyond what is known, and none before the first evaluation."""
        found = {}
        for trial in running:
            name, pace = (trial.task.stage, trial.task.name), trial.tokens_per_second
            if pace and name in self._heard:
                ahead = pace * (self._clock() - self._heard[name][1])
                limit = min(trial.tokens + trial.task.run.eval_interval_tokens, trial.task.budget_tokens)
                found[name] = min(limit, trial.tokens + round(ahead))
        return found


def _usd_by_trial(summary: Mapping[str, Any]) -> dict[TrialName, float]:
    """What each trial that is to come will cost, where that is known."""
    lines = (summary["projection"] or {}).get("by_trial", [])
    return {(line["stage"], line["trial"]): line["usd"] for line in lines if line["usd"] is not None}
