"""Seed noise: how large it is, which differences it hides, and who can still be the best in spite of it.

Always holds: noise is the standard deviation of log-perplexity over runs of one variant that differ in their seed
only, so 0.003 means that perplexity varies by 0.3 %; from fewer than two seeds it is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import stdev

from paramalloc.statistics.comparison import ALPHA
from paramalloc.statistics.student import shift_found

POWER = 0.8


@dataclass(frozen=True)
class SeedNoise:
    """What repeated runs of one variant at one budget say about noise.

    `standard_deviation`: of one run, in natural log of perplexity; `df`: how many seeds it rests on, less one.
    """

    standard_deviation: float
    df: int

    @property
    def difference_error(self) -> float:
        """Standard error of the difference of two single runs whose noise is independent."""
        return math.sqrt(2) * self.standard_deviation

    @property
    def reach(self) -> float:
        """Two standard errors of such a difference: what is within it is not told apart."""
        return 2 * self.difference_error


def seed_noise(log_perplexities: Sequence[float]) -> SeedNoise | None:
    """The noise of one variant's runs at one budget; None for fewer than two. Errors: ValueError if not finite."""
    if not all(math.isfinite(score) for score in log_perplexities):
        raise ValueError("a score that is not finite; leave out a run that has none")
    if len(log_perplexities) < 2:
        return None
    return SeedNoise(stdev(log_perplexities), len(log_perplexities) - 1)


def minimum_detectable_effect(
    noise: SeedNoise,
    seeds: int = 1,
    comparisons: int = 1,
    alpha: float = ALPHA,
    wanted_power: float = POWER,
) -> float:
    """The smallest true improvement in perplexity, as a fraction, that a comparison finds with `wanted_power`.

    Two variants with `seeds` runs each are told apart by a two-sided t test at `alpha / comparisons` (the first and
    hardest step of Holm), with the calibration's noise and degrees of freedom: d = shift * noise * sqrt(2 / seeds),
    where `shift` gives the non-central t test its power (Cohen, Statistical Power Analysis, 1988, chapter 2). The
    noise is taken at its estimate, which from five seeds is itself uncertain by a third.
    """
    shift = shift_found(noise.df, alpha / comparisons, wanted_power)
    return -math.expm1(-shift * noise.difference_error / math.sqrt(seeds))


def contenders(log_perplexities: Mapping[str, float], noise: SeedNoise, limit: int) -> list[str]:
    """Who may be the best: all within two standard errors of the best score, best first, at most `limit`.

    Args:
        log_perplexities: of each variant's single ranking run; of equal ones the name decides.
        noise: of a single run at the ranking budget; the standard error is that of a difference of two runs.
    """
    names = sorted(log_perplexities, key=lambda name: (log_perplexities[name], name))
    reach = log_perplexities[names[0]] + noise.reach if names else 0.0
    return [name for name in names if log_perplexities[name] <= reach][:limit]
