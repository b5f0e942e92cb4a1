"""Whether `torch.compile` pays for a run: the seconds it takes against the seconds it saves.

Always holds: the choice follows from the run and its device alone, so a run that is carried on is compiled as it was;
compiled code is kept in one folder of the machine, where trials of the same shape find it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from paramalloc.allocation import flops_per_token
from paramalloc.numerics import Numerics
from paramalloc.training.run import TrainingRun

_CACHE = Path("~/.cache/paramalloc/compiled")


@dataclass(frozen=True)
class Gain:
    """What compiling is worth on a kind of device.

    `seconds`: it takes; `speedup`: of training, once compiled; `flops`: that training reaches without, per second.
    """

    seconds: float
    speedup: float
    flops: float


# CPU: a gain of 2 to 8 % for 15 to 69 s was seen with a plain model; what this one's own blocks leave to gain is less
# than a busy machine's noise, so nothing is counted on. CUDA: guesses on the careful side, not measured.
GAINS = {"cpu": Gain(seconds=60.0, speedup=1.0, flops=3e10), "cuda": Gain(seconds=90.0, speedup=1.15, flops=5e13)}


def compiling_pays(tokens: int, flops_of_token: int, gain: Gain) -> bool:
    """Whether training `tokens` saves more seconds than compiling takes."""
    seconds = tokens * flops_of_token / gain.flops
    return seconds * (1 - 1 / gain.speedup) > gain.seconds


def compiled(function: Callable[..., Any], run: TrainingRun, numerics: Numerics) -> Callable[..., Any]:
    """`function` itself, or compiled for one shape of its arguments, as `training.compile` says or `auto` finds."""
    wanted = run.training.compile
    if wanted == "auto":
        wanted = compiling_pays(run.total_tokens, flops_per_token(run.shape), GAINS[numerics.device.type])
    if not wanted:
        return function
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(_CACHE.expanduser()))
    return torch.compile(function, dynamic=False)
