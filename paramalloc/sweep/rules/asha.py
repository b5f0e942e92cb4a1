"""Successive halving without waiting: at each rung only the best share of the field goes on, the others are stopped.

Always holds: the set of stopped trials, and where each is stopped, is a function of the curves alone, whichever trial
came first and whenever the driver was restarted; nobody passes or fails a rung for being early. A trial trains on
while its verdict is open, and is stopped as soon as nothing that may still come can save it.

    rule = SuccessiveHalving(["base", "a", "b", "c"], halving_rungs(5_000_000, 3), reduction=3, protected=["base"])
    rule.observe("a", 750_000, 812.0)   # -> [] or the kills that this point brought about

Source: rungs and shares are those of asynchronous successive halving (Li et al., A System for Massively Parallel
Hyperparameter Tuning, MLSys 2020). That ranks a trial among those that happened to reach the rung before it; here the
places of a rung are counted from the whole field, which is known beforehand.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from paramalloc.sweep.rules.kill_rule import NOT_FINITE, Kill

RUNG = "rung"  # the reason of a `RungKill`
REDUCTION = 3  # one in so many goes on
Score = tuple[float, int]  # perplexity, and the place in the field, which decides between equals


@dataclass(frozen=True)
class RungKill(Kill):
    """A `Kill` with the reason RUNG: of `field` trials `places` go on from `rung_tokens`, and as many were better.

    `tokens` and `dev_ppl` are those of the evaluation that counted at the rung.
    """

    rung_tokens: int = 0
    places: int = 0
    field: int = 0


def halving_rungs(budget_tokens: int, reduction: int, first_rung_tokens: int | None = None) -> list[int]:
    """Token counts at which a field is thinned: from the first on, times `reduction`, while below the budget.

    Left out, the first is the budget divided by `reduction` twice.
    """
    rung = first_rung_tokens or math.ceil(budget_tokens / reduction**2)
    rungs = []
    while rung < budget_tokens:
        rungs.append(rung)
        rung *= reduction
    return rungs


class SuccessiveHalving:
    """Judges points of learning curves as they come in.

    A trial's score at a rung is that of its first evaluation at or past it. From the k-th rung (k = 1, 2, ...) the
    `ceil(N / reduction^k)` best of the N trials go on: a trial is stopped when as many others were better, all of
    them sure to have passed the rungs before.

    Args:
        field: all trials of the stage; of equal scores the earlier in it counts as better.
        rungs_tokens: ascending token counts at which it is thinned.
        reduction: one in so many goes on, at least 2.
        keep: places that every rung has at least.
        protected: trials that are measured like others but never stopped for their rank, such as the baseline's.
    Errors: ValueError for settings that make no sense.
    """

    def __init__(
        self,
        field: Sequence[str],
        rungs_tokens: Sequence[int],
        reduction: int = REDUCTION,
        keep: int = 1,
        protected: Collection[str] = (),
    ) -> None:
        if reduction < 2 or keep < 1 or list(rungs_tokens) != sorted(set(rungs_tokens)):
            raise ValueError(
                f"reduction {reduction}, keep {keep}, rungs {list(rungs_tokens)}: at least 2, 1, ascending"
            )
        self.rungs_tokens, self.protected = tuple(rungs_tokens), frozenset(protected)
        self.places = [
            max(keep, math.ceil(len(field) / reduction ** (rung + 1))) for rung in range(len(self.rungs_tokens))
        ]
        self.kills: dict[str, Kill] = {}
        self._order = {trial: position for position, trial in enumerate(field)}
        self._points: dict[str, list[tuple[int, float]]] = {trial: [] for trial in field}
        self._ended: set[str] = set()

    def observe(self, trial: str, tokens: int, ppl: float) -> list[Kill]:
        """Take in one evaluation; returns the verdicts it brought about, for whichever trials.

        A point at or before the trial's last one is a repetition after a restart and changes nothing.
        """
        points = self._points[trial]
        if trial in self.kills or (points and tokens <= points[-1][0]):
            return []
        if not math.isfinite(ppl):
            self.kills[trial] = Kill(trial, NOT_FINITE, tokens, None)
            return [self.kills[trial], *self._judge()]
        self._ended.discard(trial)  # one that had failed is tried again
        before = points[-1][0] if points else 0
        points.append((tokens, ppl))
        return self._judge() if any(before < rung <= tokens for rung in self.rungs_tokens) else []

    def rewind(self, trial: str, tokens: int) -> None:
        """Forget what a trial did after `tokens`: it lost that work and does it again. A verdict still stands."""
        if trial not in self.kills:
            self._points[trial] = [point for point in self._points[trial] if point[0] <= tokens]

    def ended(self, trial: str) -> list[Kill]:
        """No further points of this trial will come: at the rungs it has not reached it is in nobody's way."""
        self._ended.add(trial)
        return self._judge()

    def _judge(self) -> list[Kill]:
        """Go up the rungs between two bounds: the trials that surely got there, and those that still may.

        Every point narrows the bounds and none widens them, which is why the order of the points does not matter.
        """
        verdicts: list[Kill] = []
        surely, maybe = set(self._points), set(self._points)
        for rung, places in enumerate(self.places):
            scores = {trial: score for trial in maybe if (score := self._score(trial, rung)) is not None}
            beaten = self._beaten(scores, surely, places)
            judged = {trial for trial, kill in self.kills.items() if kill.reason != NOT_FINITE}
            verdicts += [self._stop(trial, rung) for trial in sorted(beaten & surely - judged)]
            lost = {trial for trial in maybe - scores.keys() if trial in self._ended or trial in self.kills}
            surely = {
                trial
                for trial in surely & scores.keys() - beaten
                if trial in self.protected or self._threats(trial, scores, maybe - lost) < places
            }
            maybe -= lost | beaten
        return verdicts

    def _beaten(self, scores: dict[str, Score], surely: set[str], places: int) -> set[str]:
        """Those for whom no place is left, whether or not it is known already that they got as far as this rung."""
        certain = sorted(scores[trial] for trial in surely & scores.keys())
        if len(certain) < places:
            return set()
        return {trial for trial, score in scores.items() if certain[places - 1] < score} - self.protected

    def _threats(self, trial: str, scores: dict[str, Score], rivals: set[str]) -> int:
        """How many others are better at this rung, or may turn out to be."""
        return sum(other not in scores or scores[other] < scores[trial] for other in rivals - {trial})

    def _score(self, trial: str, rung: int) -> Score | None:
        """What the trial had at a rung, smaller being better; None before it got there."""
        points = self._points[trial]
        position = bisect_left(points, (self.rungs_tokens[rung], -math.inf))
        return (points[position][1], self._order[trial]) if position < len(points) else None

    def _stop(self, trial: str, rung: int) -> Kill:
        points, at = self._points[trial], self.rungs_tokens[rung]
        tokens, ppl = points[bisect_left(points, (at, -math.inf))]
        kill = RungKill(trial, RUNG, tokens, ppl, rung_tokens=at, places=self.places[rung], field=len(self._points))
        self.kills[trial] = kill
        return kill
