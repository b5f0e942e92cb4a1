"""The report's discussion: what the numbers add up to, in a few sentences that are computed from them.

Always holds: a sentence is there only where its numbers are; what seeds cannot tell is said to be open.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from paramalloc.formats import count_of, listed, percent, sentence, significant, span
from paramalloc.report.blocks import bullets
from paramalloc.report.kills import killed_trials
from paramalloc.report.load import SweepResults, Trial
from paramalloc.report.sections.budgets import EqualBudget, at_equal_budgets, finalist_runs
from paramalloc.report.variants import VariantResult
from paramalloc.results import JUDGED_BY
from paramalloc.statistics.comparison import AdditiveFit, Effect
from paramalloc.statistics.noise import POWER, SeedNoise, minimum_detectable_effect
from paramalloc.statistics.words import direction

_AT_THE_END = 1.01  # of a budget: what goes on for less than one percent has decayed its learning rate


def discussion(results: SweepResults, variants: list[VariantResult]) -> list[str]:
    """Heading and sentences; nothing before there is a verdict."""
    if not results.decided("winner"):
        return []
    said = [
        *_noise(variants),
        *_chances(results),
        *_equal_flops(results, variants),
        *_speed(variants, results.config.finalists.tolerance),
        *_kills(results),
    ]
    return ["## Discussion", bullets(said)] if said else []


def finalist_fit(variants: list[VariantResult]) -> AdditiveFit:
    """The finalists' log-perplexities taken apart into variant, seed and noise."""
    return AdditiveFit(
        {
            variant.name: {run.metrics["seed"]: math.log(run.metrics[JUDGED_BY]) for run in variant.finished_finals}
            for variant in variants
        }
    )


def _noise(variants: list[VariantResult]) -> Iterator[str]:
    fit = finalist_fit(variants)
    seeds = min((len(v.finished_finals) for v in variants if v.finished_finals), default=0)
    challengers = sum(bool(v.finished_finals) and not v.is_baseline for v in variants)
    if fit.seed_sd and seeds and challengers:
        least = minimum_detectable_effect(SeedNoise(fit.seed_sd, fit.df), seeds, challengers)
        yield (
            "Beyond what a seed does to all variants alike, a run's perplexity varies by "
            f"{percent(fit.seed_sd)} (sd, {count_of(fit.df, 'degree')} of freedom). "
            f"With {count_of(seeds, 'seed')} a true improvement has to be "
            f"about {percent(least, 0)} to be found in {percent(POWER, 0)} of such sweeps; a smaller one is more "
            "easily missed."
        )


def _chances(results: SweepResults) -> Iterator[str]:
    winner = results.decided("winner")
    chances = (winner or {}).get("probability_best")
    if chances:
        ranked = sorted(chances, key=lambda name: -chances[name])
        shares = listed([f"{name} {_chance(chances[name])}" for name in ranked])
        yield f"Chance of having the lowest true perplexity, given these scores: {shares}."


def _chance(share: float) -> str:
    """Never certainty: it is worked out from a few seeds, and from a finite number of draws."""
    return ">99%" if share > 0.99 else "<1%" if share < 0.01 else percent(share, 0)


def _equal_flops(results: SweepResults, variants: list[VariantResult]) -> Iterator[str]:
    """Whether the scores would be in another order if every run were given the same training FLOPs."""
    runs = finalist_runs(variants)
    by_name = {one.budget.name: one for one in at_equal_budgets(results, runs)}
    at_flops, at_tokens = by_name.get("FLOPs"), by_name.get("tokens")
    if not at_flops or not at_tokens or not at_flops.effects:
        return
    same = _order(at_flops.effects) == _order(at_tokens.effects)
    best = max(at_flops.effects.values(), key=lambda effect: effect.improvement)
    found = f"has {direction(best.improvement, best.improvement)} perplexity than the baseline"
    if best.low is not None and best.high is not None:
        found += f" (95% interval over seeds: {direction(best.low, best.high)})"
    said = (
        "At equal training FLOPs instead of equal tokens the order of the scores is "
        f"{'the same' if same else 'another'}: the best challenger, {best.variant}, then {found}, on a slice of dev."
    )
    early = [name for name, of in runs.items() if any(_goes_on(at_flops, name, run) for run in of.values())]
    if early:
        late = [name for name in runs if name not in early]
        said += (
            f" There {listed(early)} {'is' if len(early) == 1 else 'are'} read before the learning rate had decayed, "
            f"which favours {listed(late)}."
        )
    yield said


def _goes_on(at: EqualBudget, variant: str, run: Trial) -> bool:
    """Whether a run trained on after this budget."""
    curve = at.budget.curve(variant, run)
    return curve[-1][0] > _AT_THE_END * at.amount


def _order(effects: Mapping[str, Effect]) -> list[str]:
    """All variants, the best first; the baseline is the nameless one."""
    gains = {"": 0.0} | {name: effect.improvement for name, effect in effects.items()}
    return sorted(gains, key=lambda name: -gains[name])


def _speed(variants: list[VariantResult], tolerance: float) -> Iterator[str]:
    """Who is the fastest, where more lies between the finalists than the verdict takes for the same latency."""
    timed = [(*v.latency_ms, v) for v in variants if v.latency_ms and v.finished_finals]
    if len(timed) < 2:
        return
    (length, fast, first), (_, slow, last) = (pick(timed, key=lambda item: item[1]) for pick in (min, max))
    if slow <= (1 + tolerance) * fast:
        times = span((fast, slow), lambda milliseconds: significant(milliseconds, 3))
        yield (
            f"The finalists are as fast as each other within {percent(tolerance, 0)}: {times} ms for {length} tokens."
        )
    else:
        yield (
            f"Of the finalists {first.name} is the fastest, with {significant(fast, 3)} ms for {length} tokens "
            f"against the {significant(slow, 3)} ms of {last.name} ({count_of(first.plan['n_layers'], 'layer')} "
            f"against {last.plan['n_layers']})."
        )


def _kills(results: SweepResults) -> Iterator[str]:
    audited = [kill for kill in killed_trials(results) if kill.audit]
    for kill in audited:
        assert kill.audit is not None
        yield sentence(kill.audit["text"])
