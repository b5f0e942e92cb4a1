"""Student's t for whole degrees of freedom: tail probabilities, quantiles, and the power of a t test.

Always holds: exact closed forms (for the power, a sum on a fine grid), no random numbers; a test compares them all
with SciPy, which the program itself does without.
Source of the closed forms: Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 26.7.3 and 26.7.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

_GRID_POINTS = 2_000


def cdf(t: float, df: int) -> float:
    """P(T <= t) for Student's t with `df` >= 1 degrees of freedom; t may be infinite."""
    within = _within(abs(t), df)
    return (1 + math.copysign(within, t)) / 2


def two_sided_p(t: float, df: int) -> float:
    """P(|T| >= |t|): the p-value of a two-sided test."""
    return max(0.0, 1 - _within(abs(t), df))


@lru_cache
def quantile(probability: float, df: int) -> float:
    """The t with P(T <= t) = `probability`, 0 < probability < 1."""
    if probability < 0.5:
        return -quantile(1 - probability, df)
    return bisect(lambda t: cdf(t, df) - probability)


def power(shift: float, df: int, alpha: float) -> float:
    """Chance that a two-sided t test at level `alpha` rejects when the true effect is `shift` standard errors.

    This is the non-central t's tail, as the normal tails averaged over the chi distribution of the estimated standard
    error: P(|Z + shift| >= c * U) with U^2 ~ chi^2(df) / df and c the test's critical value.
    """
    critical = quantile(1 - alpha / 2, df)
    spread = 8 / math.sqrt(2 * df)  # of U around 1, in which next to nothing lies outside
    edges = np.linspace(max(0.0, 1 - spread), 1 + spread, _GRID_POINTS + 1)
    middles = (edges[1:] + edges[:-1]) / 2
    log_density = (df - 1) * np.log(middles) - df * middles**2 / 2
    weights = np.exp(log_density - log_density.max())
    tails = [_normal_cdf(shift - critical * u) + _normal_cdf(-shift - critical * u) for u in middles.tolist()]
    return float(np.dot(weights, tails) / weights.sum())


@lru_cache
def shift_found(df: int, alpha: float, wanted_power: float) -> float:
    """The true effect, in standard errors, that a two-sided t test at level `alpha` finds with `wanted_power`."""
    return bisect(lambda shift: power(shift, df, alpha) - wanted_power)


def bisect(rising: Callable[[float], float]) -> float:
    """The root above 0 of a function that rises and is negative at 0."""
    low, high = 0.0, 1.0
    while rising(high) < 0:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < 0 else (low, middle)
    return (low + high) / 2


def _within(t: float, df: int) -> float:
    """P(|T| <= t) for t >= 0, a finite sum in the angle whose tangent is t / sqrt(df)."""
    angle = math.atan2(t, math.sqrt(df))
    sine, cosine_squared = math.sin(angle), math.cos(angle) ** 2
    odd = df % 2 == 1
    term, total = (math.cos(angle), 0.0) if odd else (1.0, 0.0)
    for k in range((df - 1) // 2 if odd else df // 2):
        total += term
        term *= cosine_squared * ((2 * k + 2) / (2 * k + 3) if odd else (2 * k + 1) / (2 * k + 2))
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def _normal_cdf(z: float) -> float:
    return math.erfc(-z / math.sqrt(2)) / 2
