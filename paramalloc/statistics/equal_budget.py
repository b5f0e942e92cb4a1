"""Learning curves read off at equal budgets: the same tokens, the same training FLOPs, the same bytes of text.

Always holds: a curve is never read beyond its own points; between two of them log-perplexity is taken to be linear in
the logarithm of the budget, as it nearly is for a power law, and the reading says that it was interpolated.

    curve = [(1e12, 61.0), (2e12, 52.0)]        # training FLOPs, perplexity
    read_at(curve, 1.5e12)                      # Reading(value=55.48..., interpolated=True)
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Point = tuple[float, float]  # budget spent, perplexity
_SAME = 1e-9  # relative difference of two budgets that are one


@dataclass(frozen=True)
class Reading:
    """The perplexity at a budget, and whether it lies between two evaluations."""

    value: float
    interpolated: bool


def read_at(curve: Sequence[Point], budget: float) -> Reading | None:
    """The curve's perplexity at `budget`; None where it was not evaluated on both sides of it.

    Args:
        curve: points in ascending order of budget, both numbers positive.
        budget: in the unit of the curve.
    """
    place = bisect_left(curve, budget * (1 - _SAME), key=lambda point: point[0])
    if place < len(curve) and math.isclose(curve[place][0], budget, rel_tol=_SAME):
        return Reading(curve[place][1], interpolated=False)
    if place in (0, len(curve)):
        return None
    (x0, y0), (x1, y1) = curve[place - 1], curve[place]
    share = math.log(budget / x0) / math.log(x1 / x0)
    return Reading(math.exp((1 - share) * math.log(y0) + share * math.log(y1)), interpolated=True)


def common_budget(curves: Iterable[Sequence[Point]]) -> float | None:
    """The largest budget that all curves have reached; None without curves, or where one of them is empty."""
    ends = [curve[-1][0] if curve else None for curve in curves]
    reached = [end for end in ends if end is not None]
    return min(reached) if reached and len(reached) == len(ends) else None
