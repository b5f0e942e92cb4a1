"""Whom to promote and who wins: pure functions of the scores.

Always holds: the baseline is always promoted; a challenger wins only by clearing the margin in perplexity without
costing latency or memory, on every seed that the baseline finished; with nobody clearing it, the baseline stands. A
difference of unknown noise wins only where a single seed was asked for.
Perplexities are per token of the baseline's tokenizer, so that variants with other vocabularies compare.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from paramalloc.config import FinalistsConfig
from paramalloc.sections import EXTRA_CONTENDERS
from paramalloc.statistics.comparison import (
    ALPHA,
    BETTER,
    EQUIVALENT,
    UNKNOWN,
    WORSE,
    AdditiveFit,
    Effect,
    compare_all,
)
from paramalloc.statistics.noise import SeedNoise, contenders
from paramalloc.statistics.words import direction


@dataclass(frozen=True)
class RankedRun:
    """A ranking run that finished: which variant, at which peak learning rate, and its dev perplexity."""

    variant: str
    learning_rate: float
    dev_ppl: float


@dataclass(frozen=True)
class Promotion:
    """The variants of the final stage, the baseline first, and why they were taken."""

    variants: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class SeedScore:
    """What one finalist run measured; None is a value that could not be had."""

    dev_ppl: float
    latency_ms: float | None
    peak_memory_mb: float | None


@dataclass(frozen=True)
class Comparison:
    """A challenger against the baseline, paired by seed.

    `improvement` is 1 - ppl / baseline ppl, the ratio being the geometric mean over seeds; its `standard_error`, 95 %
    interval `low` to `high`, p-values and `outcome` are those of `paramalloc.statistics.comparison`, with noise
    pooled over all finalists; they are None, and the outcome `unknown`, from one seed.
    A ratio is the challenger's median over the baseline's, None where it was not measured.
    """

    variant: str
    improvement: float
    standard_error: float | None
    latency_ratio: float | None
    memory_ratio: float | None
    missing_seeds: tuple[int, ...]  # that the baseline finished and the challenger did not
    qualifies: bool
    low: float | None = None
    high: float | None = None
    p_holm: float | None = None
    p_equivalence: float | None = None
    outcome: str = UNKNOWN

    @property
    def within_noise(self) -> bool:
        """Whether noise may account for the difference, or cannot be told."""
        return self.outcome not in (BETTER, WORSE, EQUIVALENT)


@dataclass(frozen=True)
class Verdict:
    """The winner, how every challenger compares, and one sentence for a person.

    `probability_best`: of each finalist, the baseline among them. `seed_sd`: noise of one run about its variant and
    seed, in natural log of perplexity, pooled over all finalists with `seed_df` degrees of freedom. From one
    seed both are None.
    """

    winner: str
    comparisons: tuple[Comparison, ...]
    sentence: str
    probability_best: dict[str, float] | None
    seed_sd: float | None
    seed_df: int


def best_runs(runs: Iterable[RankedRun]) -> dict[str, RankedRun]:
    """Each variant's run with the lowest perplexity, which stands for it; of equal ones the lower learning rate."""
    best: dict[str, RankedRun] = {}
    for run in sorted(runs, key=lambda run: (run.dev_ppl, run.learning_rate)):
        best.setdefault(run.variant, run)
    return best


def promote(
    scores: Mapping[str, float], baseline: str, rules: FinalistsConfig, noise: SeedNoise | None = None
) -> Promotion:
    """The best challenger, and those within `thin_margin` of it up to `count`, beside the baseline.

    Where the noise of a ranking run is known: all within two standard errors of the best, at most `EXTRA_CONTENDERS`
    more than `count`.

    Args:
        scores: dev perplexity of every variant that finished the ranking; the killed are not among them.
    """
    challengers = sorted((name for name in scores if name != baseline), key=lambda name: (scores[name], name))
    if not challengers:
        return Promotion((baseline,), "no other variant has a finished run in the ranking")
    best = challengers[0]
    limit = scores[best] * (1 + rules.thin_margin)
    chosen = [name for name in challengers if scores[name] <= limit][: rules.count]
    if noise is not None:
        logs = {name: math.log(scores[name]) for name in challengers}
        chosen = contenders(logs, noise, rules.count + EXTRA_CONTENDERS)
    reason = f"{best} is the best challenger at {scores[best]:.2f}"
    if len(chosen) > 1:
        within = f"{rules.thin_margin:.0%}" if noise is None else "two standard errors"
        reason += f"; {', '.join(chosen[1:])} within {within} of it"
    elif len(challengers) > 1:
        gap = scores[challengers[1]] / scores[best] - 1
        reason += f"; the next, {challengers[1]}, is {gap:.1%} behind"
    if baseline in scores:
        reason += f"; the baseline {baseline} has {scores[baseline]:.2f}"
    return Promotion((baseline, *chosen), reason)


def decide(scores: Mapping[str, Mapping[int, SeedScore]], baseline: str, rules: FinalistsConfig) -> Verdict:
    """The winner among the finalists.

    Args:
        scores: by variant, then by seed. Only seeds that the baseline finished too are compared.
    Errors: ValueError when the baseline finished no seed.
    """
    if not scores.get(baseline):
        raise ValueError(f"the baseline {baseline} has no finished run to compare with")
    logs = {name: {seed: math.log(run.dev_ppl) for seed, run in runs.items()} for name, runs in scores.items()}
    table = compare_all(logs, baseline, rules.equivalence_margin)
    comparisons = [
        compare(name, scores[name], scores[baseline], effect, rules) for name, effect in table.effects.items()
    ]
    comparisons.sort(key=lambda item: (-item.improvement, item.variant))
    qualified = [item for item in comparisons if item.qualifies]
    winner = _faster_of_ties(qualified, AdditiveFit(logs)).variant if qualified else baseline
    sentence = _sentence(winner, baseline, comparisons, rules)
    return Verdict(winner, tuple(comparisons), sentence, table.probability_best, table.seed_sd, table.df)


def compare(
    variant: str,
    runs: Mapping[int, SeedScore],
    baseline: Mapping[int, SeedScore],
    effect: Effect,
    rules: FinalistsConfig,
) -> Comparison:
    """One challenger against the baseline; latency and memory over the seeds that both finished."""
    seeds = sorted(set(runs) & set(baseline))
    missing = tuple(sorted(set(baseline) - set(runs)))
    latency = _ratio([runs[s].latency_ms for s in seeds], [baseline[s].latency_ms for s in seeds])
    memory = _ratio([runs[s].peak_memory_mb for s in seeds], [baseline[s].peak_memory_mb for s in seeds])
    no_worse = all(ratio is None or ratio <= 1 + rules.tolerance for ratio in (latency, memory))
    error = effect.difference.standard_error
    return Comparison(
        variant=variant,
        improvement=effect.improvement,
        standard_error=None if error is None else error * (1 - effect.improvement),
        latency_ratio=latency,
        memory_ratio=memory,
        missing_seeds=missing,
        low=effect.low,
        high=effect.high,
        p_holm=effect.p_holm,
        p_equivalence=effect.p_equivalence,
        outcome=effect.outcome,
        qualifies=effect.improvement >= rules.win_margin
        and (effect.outcome == BETTER or _is_single_seed(effect, rules))
        and no_worse
        and not missing,
    )


def _is_single_seed(effect: Effect, rules: FinalistsConfig) -> bool:
    return effect.outcome == UNKNOWN and len(rules.seeds) == 1


def median_latency_ms(metrics: Mapping[str, Any]) -> float | None:
    """The median at the longest length that was measured, as the most telling of them; None where none was."""
    latencies = [value["p50"] for value in (metrics["latency_ms"] or {}).values() if value]
    return latencies[-1] if latencies else None


def _ratio(values: list[float | None], reference: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    known_reference = [value for value in reference if value is not None]
    return median(known) / median(known_reference) if known and known_reference else None


def _faster_of_ties(qualified: list[Comparison], fit: AdditiveFit) -> Comparison:
    """The largest improvement, or a faster one that noise does not let be told apart from it."""
    best = qualified[0]
    tied = [item for item in qualified if item is best or _is_tie(fit, item.variant, best.variant)]
    return min(tied, key=lambda item: item.latency_ratio if item.latency_ratio is not None else math.inf)


def _is_tie(fit: AdditiveFit, variant: str, best: str) -> bool:
    """From one seed nothing is known of noise, and nothing counts as a tie."""
    difference = fit.difference(variant, best)
    p = difference.p_value() if difference else None
    return p is not None and p >= ALPHA


def _sentence(winner: str, baseline: str, comparisons: list[Comparison], rules: FinalistsConfig) -> str:
    if not comparisons:
        return f"{baseline}, the baseline, stands: no other variant has a finished run in the final."
    item = next((c for c in comparisons if c.variant == winner), comparisons[0])
    difference = f"{direction(item.improvement, item.improvement)} dev perplexity"
    if item.low is not None and item.high is not None:
        difference += f" (95% interval over seeds: {direction(item.low, item.high)})"
    if item.within_noise:
        reason = winner == baseline and item.improvement >= rules.win_margin and not item.missing_seeds
        seen = ", seen with one seed only" if item.standard_error is None else "" if reason else ", within seed noise"
        difference += seen
    if winner != baseline:
        passed = [c.variant for c in comparisons if c.qualifies and c.improvement > item.improvement]
        tie = (
            f"; {' and '.join(passed)} scored better, but is not told apart from it and not faster" if passed else ""
        )
        return f"{winner} wins: {difference} than the baseline {baseline}, {_costs_of_a_winner(item)}{tie}."
    return (
        f"{baseline}, the baseline, stands: the best challenger, {item.variant}, has {difference}, "
        f"{why_not(item, rules)}."
    )


def _costs_of_a_winner(item: Comparison) -> str:
    ratios = {"latency": item.latency_ratio, "memory": item.memory_ratio}
    unmeasured = [name for name, ratio in ratios.items() if ratio is None]
    return f"{' and '.join(unmeasured)} not measured" if unmeasured else "with no worse latency and memory"


def why_not(item: Comparison, rules: FinalistsConfig) -> str:
    """Why a challenger does not win, to follow its score; for one that qualifies, that it is no faster."""
    if item.qualifies:
        return "not told apart from the winner and not faster"
    if item.missing_seeds:
        return f"but finished only some of the seeds (not {', '.join(map(str, item.missing_seeds))})"
    if item.improvement < 0:
        return f"where {rules.win_margin:.0%} lower was asked for"
    if item.improvement < rules.win_margin:
        return f"less than the {rules.win_margin:.0%} asked for"
    if item.outcome == UNKNOWN and len(rules.seeds) > 1:
        return "which cannot be told from seed noise"
    if item.outcome not in (BETTER, UNKNOWN):
        return "which seed noise may account for"
    costs = [
        f"{name} {ratio:.2f} times the baseline's"
        for name, ratio in (("latency", item.latency_ratio), ("memory", item.memory_ratio))
        if ratio is not None and ratio > 1 + rules.tolerance
    ]
    return f"but {' and '.join(costs)}"
