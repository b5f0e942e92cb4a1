"""Variants compared over a few seeds: effects with intervals, corrected p-values, equivalence, chance of being best.

Always holds: a seed is a block, so whatever it does to all variants alike cancels; the noise is estimated from all
variants together, so three seeds each are enough to say something; with no seeds to spare every statement of
uncertainty is None and the outcome `unknown`. Lower scores are better; the order of the input changes no number.

    table = compare_all({"base": {0: 3.30, 1: 3.31}, "wide": {0: 3.25, 1: 3.27}}, "base")
    table.effects["wide"].outcome        # "better", "worse", "equivalent", "undecided" or "unknown"
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from paramalloc.statistics.student import cdf, quantile, two_sided_p

BETTER, WORSE, EQUIVALENT, UNDECIDED, UNKNOWN = "better", "worse", "equivalent", "undecided", "unknown"
EQUIVALENCE_MARGIN = 0.005  # of perplexity: differences below half a per cent change nobody's mind
ALPHA = 0.05
POSTERIOR_DRAWS = 20_000  # a probability is known to 0.4 points
_ROUNDING = 1e-12  # log-perplexity; what is smaller is zero


@dataclass(frozen=True)
class Difference:
    """Score of one variant less that of another: estimate and standard error, in natural log of perplexity.

    `standard_error` and `df` are None where no seeds are left to estimate noise from.
    """

    estimate: float
    standard_error: float | None
    df: int | None

    def interval(self, level: float) -> tuple[float, float] | None:
        """Central confidence interval, estimate -+ t(df) * standard error."""
        if self.standard_error is None or self.df is None:
            return None
        reach = quantile((1 + level) / 2, self.df) * self.standard_error
        return self.estimate - reach, self.estimate + reach

    def p_value(self) -> float | None:
        """Two-sided, of no difference."""
        t = self._t(self.estimate)
        return None if t is None or self.df is None else two_sided_p(t, self.df)

    def p_equivalence(self, margin_log: float) -> float | None:
        """Of a difference of `margin_log` or more: the larger of two one-sided tests (Schuirmann 1987)."""
        above, below = self._t(margin_log - self.estimate), self._t(margin_log + self.estimate)
        if above is None or below is None or self.df is None:
            return None
        return max(1 - cdf(above, self.df), 1 - cdf(below, self.df))

    def _t(self, distance: float) -> float | None:
        if self.standard_error is None:
            return None
        if self.standard_error == 0:
            return math.copysign(math.inf, distance) if abs(distance) > _ROUNDING else 0.0
        return distance / self.standard_error


@dataclass(frozen=True)
class Effect:
    """One challenger against the baseline.

    improvement: 1 - perplexity / baseline perplexity (geometric mean over seeds); positive is better, 0.05 is 5 %.
    low, high: its 95 % confidence interval (1 - alpha), not corrected for the number of challengers.
    p_value: two-sided, of no difference; p_holm: the same, corrected for all challengers of the table.
    p_equivalence: of a difference of the equivalence margin or more; not corrected.
    seeds: that count, i.e. that the challenger and some other variant have finished.
    """

    variant: str
    seeds: tuple[int, ...]
    difference: Difference
    improvement: float
    low: float | None
    high: float | None
    p_value: float | None
    p_holm: float | None
    p_equivalence: float | None
    outcome: str


@dataclass(frozen=True)
class Table:
    """All challengers against the baseline.

    effects: by challenger, in the order of the input; those that cannot be set beside the baseline are left out.
    probability_best: of each compared variant, the baseline among them; None where noise is not known.
    seed_sd: standard deviation of one run's score about its variant and seed, in natural log; None likewise.
    """

    baseline: str
    effects: dict[str, Effect]
    probability_best: dict[str, float] | None
    seed_sd: float | None
    df: int


class AdditiveFit:
    """Least squares of score = variant + seed + noise, with missing runs allowed.

    The two-way layout without interaction (Scheffe, The Analysis of Variance, 1959, chapter 4). With X the 0/1 design
    matrix of runs by variants and seeds, r its rank and e the residuals, the noise variance s^2 = e'e / (runs - r) is
    pooled over variants; a difference c'b has the variance s^2 c'(X'X)^- c. For two variants this is the paired
    t test. Noise is taken to be normal and as large for every variant.

    Args:
        scores: natural log of perplexity by variant, then by seed.
    """

    def __init__(self, scores: Mapping[str, Mapping[int, float]]) -> None:
        self.variants = sorted(name for name, runs in scores.items() if runs)
        seeds = sorted({seed for runs in scores.values() for seed in runs})
        cells = [(name, seed) for name in self.variants for seed in sorted(scores[name])]
        self._design = np.zeros((len(cells), len(self.variants) + len(seeds)))  # (runs, variants + seeds)
        for row, (name, seed) in enumerate(cells):
            self._design[row, self.variants.index(name)] = 1
            self._design[row, len(self.variants) + seeds.index(seed)] = 1
        values = np.array([scores[name][seed] for name, seed in cells])
        centre = values.mean() if cells else 0.0  # it belongs to every seed; taken out so that rounding stays small
        self._inverse = np.linalg.pinv(self._design)
        self._solution = self._inverse @ (values - centre)
        residuals = values - centre - self._design @ self._solution
        self.df = len(cells) - int(np.linalg.matrix_rank(self._design))
        self.seed_sd = math.sqrt(float(residuals @ residuals) / self.df) if self.df > 0 else None
        if self.seed_sd is not None and self.seed_sd < _ROUNDING:
            self.seed_sd = 0.0

    def difference(self, variant: str, other: str) -> Difference | None:
        """Score of `variant` less that of `other`; None where no chain of shared seeds joins them."""
        if variant not in self.variants or other not in self.variants:
            return None
        contrast = self._contrast(variant, other)
        if not np.allclose(contrast @ self._inverse @ self._design, contrast, atol=1e-9):
            return None
        estimate = float(contrast @ self._solution)
        if self.seed_sd is None:
            return Difference(estimate, None, None)
        scale = math.sqrt(float(np.sum((contrast @ self._inverse) ** 2)))
        return Difference(estimate, self.seed_sd * scale, self.df)

    def probability_best(self, variants: Sequence[str], draws: int) -> dict[str, float] | None:
        """Chance of each to have the lowest true score, given the data and no opinion before them.

        With flat priors on means and log(noise), the differences have a multivariate t posterior with `df` degrees of
        freedom (Box and Tiao, Bayesian Inference in Statistical Analysis, 1973, chapter 2): drawn with a fixed seed.
        """
        if self.seed_sd is None:
            return None
        reference = variants[0]
        contrasts = np.stack([self._contrast(name, reference) for name in variants])  # (variants, columns)
        spread = contrasts @ self._inverse  # (variants, runs); its Gram matrix is the covariance in units of noise
        generator = np.random.default_rng(0)
        noise = self.seed_sd / np.sqrt(generator.chisquare(self.df, size=draws) / self.df)
        normal = generator.standard_normal((draws, spread.shape[1]))
        posterior = contrasts @ self._solution + noise[:, None] * (normal @ spread.T)  # (draws, variants)
        lowest = posterior <= posterior.min(axis=1, keepdims=True) + _ROUNDING
        shares = (lowest / lowest.sum(axis=1, keepdims=True)).mean(axis=0)
        return dict(zip(variants, shares.tolist(), strict=True))

    def _contrast(self, variant: str, other: str) -> NDArray[np.float64]:
        contrast = np.zeros(self._design.shape[1])
        contrast[self.variants.index(variant)] += 1
        contrast[self.variants.index(other)] -= 1
        return contrast


def compare_all(
    scores: Mapping[str, Mapping[int, float]],
    baseline: str,
    margin: float = EQUIVALENCE_MARGIN,
    alpha: float = ALPHA,
    draws: int = POSTERIOR_DRAWS,
) -> Table:
    """Every challenger against the baseline.

    Args:
        scores: natural log of perplexity by variant, then by seed; a missing run is simply absent. With several
            tokenizers they must be per token of one of them (bits per byte * bytes per such token * ln 2).
        margin: relative difference in perplexity, either way, below which two variants count as equal.
        alpha: error rate; of all challengers together for `better` and `worse`, of each for `equivalent`.
        draws: from the posterior, for the chances of being best.
    Errors: ValueError for a score that is not finite, or a baseline without a score.
    """
    _require_usable(scores, baseline)
    fit = AdditiveFit(scores)
    challengers = [name for name in scores if name != baseline]
    differences = {name: found for name in challengers if (found := fit.difference(name, baseline)) is not None}
    effects = {name: _effect(name, found, scores, margin, alpha) for name, found in differences.items()}
    known = {name: item.p_value for name, item in effects.items() if item.p_value is not None}
    corrected = holm(known)
    return Table(
        baseline=baseline,
        effects={name: _judged(item, corrected.get(name), alpha) for name, item in effects.items()},
        probability_best=fit.probability_best([baseline, *effects], draws),
        seed_sd=fit.seed_sd,
        df=fit.df,
    )


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values corrected so that the chance of any false rejection among them is at most the level (Holm 1979).

    In ascending order the i-th of m is multiplied by m - i + 1, and none is less than the one before it.
    """
    corrected, floor = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = floor
    return {name: corrected[name] for name in p_values}


def _require_usable(scores: Mapping[str, Mapping[int, float]], baseline: str) -> None:
    if not scores.get(baseline):
        raise ValueError(f"the baseline {baseline} has no score to compare with")
    for name, runs in scores.items():
        for seed, score in runs.items():
            if not math.isfinite(score):
                raise ValueError(f"{name}, seed {seed}: a score of {score}; leave out a run that has none")


def _effect(
    name: str, difference: Difference, scores: Mapping[str, Mapping[int, float]], margin: float, alpha: float
) -> Effect:
    others = {seed for other, runs in scores.items() if other != name for seed in runs}
    interval = difference.interval(1 - alpha)
    p_equivalence = difference.p_equivalence(math.log1p(margin))
    return Effect(
        variant=name,
        seeds=tuple(sorted(set(scores[name]) & others)),
        difference=difference,
        improvement=-math.expm1(difference.estimate),
        low=-math.expm1(interval[1]) if interval else None,
        high=-math.expm1(interval[0]) if interval else None,
        p_value=difference.p_value(),
        p_holm=None,
        p_equivalence=p_equivalence,
        outcome=EQUIVALENT if p_equivalence is not None and p_equivalence < alpha else UNDECIDED,
    )


def _judged(effect: Effect, p_holm: float | None, alpha: float) -> Effect:
    """With its corrected p-value. A difference that is certain but within the margin stays `equivalent`."""
    if p_holm is None:
        return replace(effect, outcome=UNKNOWN)
    if p_holm < alpha and effect.outcome != EQUIVALENT:
        return replace(effect, p_holm=p_holm, outcome=BETTER if effect.improvement > 0 else WORSE)
    return replace(effect, p_holm=p_holm)
