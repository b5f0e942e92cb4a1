"""Notices a trial that has fallen silent: one that reports nothing for far longer than its own pace.

Always holds: pure bookkeeping with a clock that is given; a trial's pace is the median gap between its reports, over
all its attempts; what was restarted for its silence gets twice the time from then on, so that a phase that is merely
long comes to its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

UNKNOWN_PACE_SECONDS = 900.0  # to load the text, build and warm up a model; or to be scored, once it is trained
TIMES_ITS_PACE = 10.0


@dataclass
class _Ear:
    gaps: list[float] = field(default_factory=list)
    last: float | None = None  # None: no attempt is going on
    reports: int = 0  # of this attempt
    unhurried: bool = False
    patience: float = 1.0


class Watchdog:
    """Told of every attempt and report, it says who is silent.

    Args:
        shortest_seconds: how long a trial may always be silent, however fast its pace.
        unknown_pace_seconds: how long it may before its first two reports, or when `unhurried`.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        shortest_seconds: float,
        unknown_pace_seconds: float = UNKNOWN_PACE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.shortest_seconds, self.clock = shortest_seconds, clock
        self.unknown_pace_seconds = max(unknown_pace_seconds, shortest_seconds)
        self._ears: dict[str, _Ear] = {}

    def begin(self, trial: str) -> None:
        """An attempt has a worker."""
        ear = self._ears.setdefault(trial, _Ear())
        ear.last, ear.reports, ear.unhurried = self.clock(), 0, False

    def heard(self, trial: str, unhurried: bool = False) -> None:
        """A report came in. `unhurried`: what comes next has no pace yet, such as the final scoring."""
        ear = self._ears.setdefault(trial, _Ear())
        now = self.clock()
        if ear.last is not None and ear.reports:
            ear.gaps.append(now - ear.last)
        ear.last, ear.unhurried = now, unhurried
        ear.reports += 1

    def end(self, trial: str) -> None:
        """The attempt is over."""
        if trial in self._ears:
            self._ears[trial].last = None

    def silent(self) -> dict[str, float]:
        """For each trial that has been silent for too long, for how many seconds; it is told once per silence."""
        now, found = self.clock(), {}
        for trial, ear in self._ears.items():
            quiet = 0.0 if ear.last is None else now - ear.last
            if quiet > ear.patience * self.shortest_seconds and quiet > self._limit(ear):  # the median takes longer
                found[trial] = quiet
                ear.last, ear.patience = None, ear.patience * 2
        return found

    def _limit(self, ear: _Ear) -> float:
        pace = TIMES_ITS_PACE * median(ear.gaps) if ear.gaps else 0.0
        known = ear.gaps and ear.reports and not ear.unhurried
        return ear.patience * max(self.shortest_seconds if known else self.unknown_pace_seconds, pace)
