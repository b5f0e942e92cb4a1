"""Optuna as the proposer, through Ray's OptunaSearch: what came out so far in, the knobs to try next out.

Always holds: a pure function of its arguments: each round begins with a study of its own, is told everything in the
same order and draws from a seed of its own, so a resumed search proposes what an uninterrupted one would have, and
there is no state to be lost. Nothing is run by Tune here, and Ray need not be started.

The sampler is the multi-objective tree-structured Parzen estimator (Ozaki et al. 2022, doi:10.1613/jair.1.13188); the
trials of a round count as poor ones while they run (`constant_liar`), so that they are not all alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from ray.tune.search.optuna import OptunaSearch

from paramalloc.config import SearchConfig
from paramalloc.proposals import Knobs

OBJECTIVES = ("dev_bpb", "latency_ms")  # both to be small


@dataclass(frozen=True)
class Told:
    """What one trial came to: the knobs as they were asked for, and its `OBJECTIVES`.

    None where it has none: it has no shape, diverged or failed. Optuna then counts it among the worst.
    """

    asked: Knobs
    values: tuple[float, float] | None


def propose(search: SearchConfig, told: Sequence[Told], number: int, count: int) -> list[Knobs]:
    """The searched knobs of the next `count` trials.

    Args:
        told: all that is known, in the order in which it was asked for; knobs outside the ranges are passed over.
        number: how many proposals there were before, which decides the seed of this round.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = int(np.random.SeedSequence([search.seed, number]).generate_state(1)[0])
    space = _space(search)
    known = [item for item in told if _contains(space, item.asked)]
    searcher = OptunaSearch(
        space,
        metric=list(OBJECTIVES),
        mode=["min"] * len(OBJECTIVES),
        points_to_evaluate=[dict(item.asked) for item in known],
        sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True),
    )
    for rank, item in enumerate(known):
        asked = searcher.suggest(f"known{rank}")
        assert asked == item.asked, (asked, item.asked)
        result = dict(zip(OBJECTIVES, item.values, strict=True)) if item.values else None
        searcher.on_trial_complete(f"known{rank}", result)
    return [dict(searcher.suggest(f"new{rank}") or {}) for rank in range(count)]


def _space(search: SearchConfig) -> dict[str, BaseDistribution]:
    found: dict[str, BaseDistribution] = {}
    for name, (low, high) in search.ranges.items():
        if name == "vocab_size":
            found[name] = IntDistribution(int(low), int(high), step=search.vocab_step)
        else:
            found[name] = FloatDistribution(low, high)
    return found


def _contains(space: dict[str, BaseDistribution], knobs: Knobs) -> bool:
    return all(name in knobs and each._contains(each.to_internal_repr(knobs[name])) for name, each in space.items())
