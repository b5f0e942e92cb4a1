"""The kill rule: a trial that stays above the baseline's perplexity for long enough is stopped.

Always holds: a verdict is a function of the curves alone, not of the order in which their points arrive; a point
that the baseline has not reached yet waits and is judged when it has; a verdict once reached stands, but for a
divergence, before which a trial may turn out to have lost. A baseline itself is never judged by the margin.

    rule = KillRule({"emb45": "emb35"}, margin_ppl=0.5, window_tokens=1_000_000)
    rule.observe("emb45", 250_000, 812.0)   # -> [] or the kills that this point brought about
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

MARGIN, NOT_FINITE = "margin", "not_finite"


@dataclass(frozen=True)
class Kill:
    """Why a trial dies: at `tokens` it had been above the baseline by the margin or more for `for_tokens` (MARGIN).

    For a loss that is not finite (NOT_FINITE), `baseline`, `baseline_ppl`, `gap_ppl` and `for_tokens` are None.
    """

    trial: str
    reason: str
    tokens: int
    dev_ppl: float | None
    baseline: str | None = None
    baseline_ppl: float | None = None
    gap_ppl: float | None = None
    for_tokens: int | None = None


@dataclass
class _Curve:
    """What is known of one trial: its points, how many of them are judged, and where its bad streak began."""

    points: list[tuple[int, float]] = field(default_factory=list)
    judged: int = 0
    bad_since: int | None = None


class KillRule:
    """Judges points of learning curves as they come in.

    Args:
        baseline_of: for each trial, the baseline's trial that it is measured against; a trial that is not among the
            keys, such as a baseline's own, is never judged by the margin.
        margin_ppl: how far above the baseline, in perplexity at the same token count, is bad.
        window_tokens: a trial dies when every evaluation over at least this many tokens was bad.
    """

    def __init__(self, baseline_of: Mapping[str, str], margin_ppl: float, window_tokens: int) -> None:
        self.baseline_of, self.margin_ppl, self.window_tokens = dict(baseline_of), margin_ppl, window_tokens
        self.kills: dict[str, Kill] = {}
        self._followers: dict[str, list[str]] = defaultdict(list)
        for trial, baseline in self.baseline_of.items():
            self._followers[baseline].append(trial)
        self._curves: dict[str, _Curve] = {}
        self._ended: set[str] = set()  # no further points of these will come

    def observe(self, trial: str, tokens: int, ppl: float) -> list[Kill]:
        """Take in one evaluation; returns the verdicts it brought about, for this trial or for one that waited.

        A point at or before the trial's last one is a repetition after a restart and changes nothing.
        """
        curve = self._curves.setdefault(trial, _Curve())
        if trial in self.kills or (curve.points and tokens <= curve.points[-1][0]):
            return []
        if not math.isfinite(ppl):
            return [self._kill(Kill(trial, NOT_FINITE, tokens, None))]
        curve.points.append((tokens, ppl))
        return self._judge(trial) if trial in self.baseline_of else self._judge_against(trial)

    def rewind(self, trial: str, tokens: int) -> None:
        """Forget what a trial did after `tokens`: it lost that work and does it again. A verdict still stands."""
        curve = self._curves.get(trial)
        if curve is not None and curve.points and curve.points[-1][0] > tokens and trial not in self.kills:
            self._curves[trial] = _Curve([point for point in curve.points if point[0] <= tokens])

    def ended(self, trial: str) -> list[Kill]:
        """No further points of this trial will come: those still waiting for it are judged by its last one."""
        self._ended.add(trial)
        return self._judge_against(trial)

    def _judge_against(self, baseline: str) -> list[Kill]:
        followers = self._followers.get(baseline, ())
        return [kill for trial in followers if trial in self._curves for kill in self._judge(trial)]

    def _judge(self, trial: str) -> list[Kill]:
        curve, baseline = self._curves[trial], self.baseline_of[trial]
        while self._is_open(trial) and curve.judged < len(curve.points):
            tokens, ppl = curve.points[curve.judged]
            if not self._reached(baseline, tokens):
                return []
            curve.judged += 1
            reference = self._baseline_at(baseline, tokens)
            if reference is None:
                continue
            if ppl - reference < self.margin_ppl:
                curve.bad_since = None
                continue
            curve.bad_since = tokens if curve.bad_since is None else curve.bad_since
            if tokens - curve.bad_since >= self.window_tokens:
                gap, since = ppl - reference, curve.bad_since
                return [self._kill(Kill(trial, MARGIN, tokens, ppl, baseline, reference, gap, tokens - since))]
        return []

    def _is_open(self, trial: str) -> bool:
        """Whether it can still be judged by the margin: a divergence came after all points that wait."""
        return trial not in self.kills or self.kills[trial].reason == NOT_FINITE

    def _kill(self, kill: Kill) -> Kill:
        self.kills[kill.trial] = kill
        return kill

    def _reached(self, baseline: str, tokens: int) -> bool:
        points = self._points(baseline)
        return baseline in self._ended or bool(points and points[-1][0] >= tokens)

    def _baseline_at(self, baseline: str, tokens: int) -> float | None:
        """The baseline's perplexity at its last evaluation up to `tokens`; None before its first.

        Where both evaluate at the same counts this is the same count; where a variant's batches are of another
        size it is the one before, whose higher perplexity errs in the trial's favour.
        """
        points = self._points(baseline)
        position = bisect_right(points, (tokens, math.inf))
        return points[position - 1][1] if position else None

    def _points(self, trial: str) -> list[tuple[int, float]]:
        return self._curves[trial].points if trial in self._curves else []
