"""How many trials share a GPU when the sweep file leaves it open: as many as its speed and memory were seen to bear.

Always holds: pure functions of what was measured. Each session measures anew, since its GPUs may be others; what a
trial comes to does not depend on how many share one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from paramalloc.allocation import flops_per_token
from paramalloc.evaluation.profile.together import Together
from paramalloc.plan import Plan, rates_tried
from paramalloc.training.run import TrainingRun

GPU_SHARE = "gpu_share"  # the event
WORTH_IT = 1.1  # times the tokens per second, at least, for twice as many trials
MEMORY_SHARE = 0.9  # of the device
SPARE = 1.25  # times what a training step needs, for evaluations and what the allocator keeps
_MOST = 8


def most_sharing(plan: Plan, gpus: float | None) -> int:
    """How many trials may share one at all: with more, other GPUs would be idle.

    Args:
        gpus: how many there are; None where more may be started.
    """
    at_once = max(sum(rates_tried(item) for item in stage.variants) for stage in plan.stages)
    return min(_MOST, at_once if gpus is None else math.ceil(at_once / gpus))


def most_demanding(plan: Plan) -> TrainingRun:
    """The ranking run whose tokens cost most, to stand for all: where so many of it fit, so many of others do."""
    item = max(plan.variants, key=lambda item: flops_per_token(item.shape))
    return item.ranking.run(item.variant.training.seed, learning_rate=1e-3)


def try_sharing(train: Callable[[int], Together], most: int) -> list[Together]:
    """Measure one trial, then twice as many for as long as that is worth it, and they fit."""
    measured = [train(1)]
    while (trials := 2 * measured[-1].trials) <= most and fits(measured[0], trials):
        measured.append(train(trials))
        if measured[-1].tokens_per_second < WORTH_IT * measured[-2].tokens_per_second:
            break
    return measured


def fits(alone: Together, trials: int) -> bool:
    """Whether so many have room in the device's memory, of which one alone needs what it was seen to need."""
    if alone.used_mb is None or alone.device_mb is None:
        return True
    return SPARE * alone.used_mb * trials <= MEMORY_SHARE * alone.device_mb


def trials_per_gpu(measured: Sequence[Together]) -> int:
    """The most trials that were still worth it."""
    best = measured[0]
    for each in measured[1:]:
        if each.tokens_per_second >= WORTH_IT * best.tokens_per_second:
            best = each
    return best.trials


def share_in_words(measured: Sequence[Together]) -> str:
    chosen = trials_per_gpu(measured)
    speeds = ", ".join(f"{each.trials} at a time {each.tokens_per_second:,.0f}" for each in measured)
    share = "one trial" if chosen == 1 else f"{chosen} trials"
    return f"{share} on each GPU, by tokens per second: {speeds}"
