"""The attempts at one trial within a session: their bill, what of their time was lost, and which deaths count.

Always holds: an attempt's end is billed once, as soon as it is known how much of its work was kept: at once after an
orderly end, else when the next attempt says where it carries on; a death counts against a trial only while it gets no
further and no machine was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from cost import ledger
from paramalloc.sweep.journal import Journal, OpenAttempt
from paramalloc.sweep.trials.tasks import TrialTask

MAX_DEATHS = 5  # without progress and without a machine lost: out of memory, most likely
INTERRUPTED = "interrupted"


def lost_seconds(points: Sequence[tuple[float, int]], ended: float, kept_tokens: int, pace: float | None) -> float:
    """How much of an attempt came after the state that was kept.

    Args:
        points: (Unix seconds, tokens) from the attempt's start on, tokens rising; never empty.
        ended: when its process was gone.
        kept_tokens: where the next attempt carries on.
        pace: tokens per second, used beyond the last point; None is unknown: then all after that point is lost.
    """
    kept_until, tokens = points[0]
    for time, reached in points[1:]:
        if reached > kept_tokens:
            share = max(0, kept_tokens - tokens) / (reached - tokens)
            return max(0.0, ended - kept_until - share * (time - kept_until))
        kept_until, tokens = time, reached
    if pace:
        kept_until += max(0, kept_tokens - tokens) / pace
    return max(0.0, ended - kept_until)


@dataclass
class _Attempt:
    node: str
    points: list[tuple[float, int]]
    session: str | None = None  # of an earlier driver that died; None: this one
    ended: float | None = None
    status: str = INTERRUPTED

    @property
    def pace(self) -> float | None:
        (began, first), (time, tokens) = self.points[0], self.points[-1]
        return (tokens - first) / (time - began) if tokens > first and time > began else None


@dataclass(frozen=True)
class _Death:
    node: str | None  # None: it died before it had reported from where
    machines_lost: int


@dataclass
class Attempts:
    """All attempts at one trial; the caller says what happens, in order.

    `earlier`: an attempt that a driver before this one left open.
    """

    task: TrialTask
    journal: Journal
    earlier: OpenAttempt | None = None
    _open: _Attempt | None = None
    _deaths: list[_Death] = field(default_factory=list)
    _furthest_tokens: int = 0

    def begin(self, node: str, share: float, tokens: int, pace: float | None) -> None:
        """A worker on `node` carries the trial on at `tokens`. `pace`: tokens per second as far as known."""
        self._take_up_earlier(INTERRUPTED)
        if self._open:
            self._settle(tokens, pace)
        now = self.journal.clock()
        self._open = _Attempt(node, [(now, tokens)])
        self._bill(ledger.trial_start, now, node=node, variant=self.task.variant, share=share)
        self._progress(tokens)

    def reached(self, tokens: int) -> None:
        """The running attempt has trained up to `tokens`."""
        if self._open:
            self._open.points.append((self.journal.clock(), tokens))
        self._progress(tokens)

    def end(self, status: str, lost: float | None = None) -> None:
        """The attempt ends in order; `lost` seconds of it are known to be wasted.

        It may be one that an earlier driver left open after the trial's last word, such as a verdict.
        """
        if self._open and self._open.ended is None:
            self._open.ended, self._open.status = self.journal.clock(), status
            self._close(lost)
        elif self.earlier:
            self._take_up_earlier(status)
            self._close(lost)

    def cut(self, status: str = INTERRUPTED) -> None:
        """The attempt is over; how much of it is lost shows when the next begins."""
        if self._open and self._open.ended is None:
            self._open.ended, self._open.status = self.journal.clock(), status

    def settle(self) -> None:
        """Nothing more will be known in this session; an attempt that was cut is billed without its loss."""
        if self._open and self._open.ended is not None:
            self._close(None)

    def died(self, machines_lost: int) -> None:
        """The worker was lost. `machines_lost`: by then, in this session."""
        self._deaths.append(_Death(self._open.node if self._open else None, machines_lost))
        self.cut()

    def deaths_of_its_own(self, machines_lost: Collection[str]) -> int:
        """Deaths since the last progress that no lost machine explains, of the machines lost so far."""
        return sum(
            death.machines_lost == len(machines_lost) if death.node is None else death.node not in machines_lost
            for death in self._deaths
        )

    def overrule(self, status: str) -> None:
        """A verdict that came late: what had ended otherwise, maybe under an earlier driver, was for nothing."""
        end = self.journal.last_end(self.task.stage, self.task.name)
        if end and end["status"] != status:  # none: the run was taken over from another stage
            self._bill(ledger.trial_end, end["time"], session=end["session"], node=end["node"], status=status)

    def _take_up_earlier(self, status: str) -> None:
        if self.earlier:
            left, self.earlier = self.earlier, None
            self._open = _Attempt(left.node, [(left.began, left.tokens)], left.session, left.ended, status)

    def _progress(self, tokens: int) -> None:
        if tokens > self._furthest_tokens:
            self._furthest_tokens = tokens
            self._deaths.clear()

    def _settle(self, kept_tokens: int, pace: float | None) -> None:
        attempt = self._open
        assert attempt is not None
        ended = self.journal.clock() if attempt.ended is None else attempt.ended  # its end went unnoticed
        attempt.ended = ended
        self._close(lost_seconds(attempt.points, ended, kept_tokens, attempt.pace or pace))

    def _close(self, lost: float | None) -> None:
        attempt, self._open = self._open, None
        assert attempt is not None
        about: dict[str, Any] = {"session": attempt.session} if attempt.session else {}
        self._bill(
            ledger.trial_end, attempt.ended, node=attempt.node, status=attempt.status, lost_seconds=lost, **about
        )

    def _bill(self, row: Callable[..., dict[str, Any]], time: float | None, **fields: Any) -> None:
        self.journal.bill(row, time, stage=self.task.stage, trial=self.task.name, **fields)
