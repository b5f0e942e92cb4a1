"""How fast a variant trains: tokens per second over whole optimiser steps.

Always holds: the steps are the run's own (forward, backward, clipping, update), after a warm-up that is not timed.
"""

from __future__ import annotations

import time
from statistics import median

from paramalloc.evaluation.profile.latency import Clock, synchronize
from paramalloc.evaluation.profile.rehearsal import rehearsal
from paramalloc.numerics import Numerics
from paramalloc.training.run import TrainingRun

_MOST_TOKENS = {"cpu": 2**10, "cuda": 2**17}  # of a timed step; a core takes seconds for a thousand at 10M parameters
_SECONDS = 2.0
_FEWEST_STEPS, _MOST_STEPS = 2, 20
_WARMUP_STEPS = {"cpu": 1, "cuda": 3}


def training_tokens_per_second(run: TrainingRun, numerics: Numerics, clock: Clock = time.perf_counter) -> float:
    """Tokens of a step over the median time of 2 to 20 steps (as many as fit two seconds).

    A step takes the run's batch, cut to about a thousand tokens on a CPU and 131,072 on a GPU: the update of the
    weights, which comes once in a batch, then weighs a little more than in training.
    """
    device = numerics.device.type
    most_sequences = max(1, _MOST_TOKENS[device] // run.shape.context_length)
    with rehearsal(run, numerics, most_sequences) as trainer:
        inputs, _ = trainer.batches.batch(0)  # (B, T)
        for _ in range(_WARMUP_STEPS[device]):
            trainer.take_step()
        seconds: list[float] = []
        while len(seconds) < _FEWEST_STEPS or (sum(seconds) < _SECONDS and len(seconds) < _MOST_STEPS):
            synchronize(numerics)
            begun = clock()
            trainer.take_step()
            synchronize(numerics)
            seconds.append(clock() - begun)
        return inputs.size / median(seconds)
