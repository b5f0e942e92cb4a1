"""Latency of one forward pass, and the memory that training needed.

Always holds: a figure that could not be measured is None, never 0. Latency is at batch 1 after warm-up; on a shared
machine it is only as quiet as its neighbours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from paramalloc.model import Transformer
from paramalloc.training.numerics import Numerics

LATENCY_LENGTHS = (128, 512)
_WARMUP_RUNS = 5
_PROCESS = Path("/proc/self")


@torch.inference_mode()
def latency_ms(
    model: Transformer, numerics: Numerics, runs: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, dict[str, float] | None]:
    """Milliseconds of a forward pass at batch 1, as `{"128": {"p50":, "p95":, "p99":}, "512": None}`.

    A length beyond the model's context, or `runs` = 0, gives None.
    """
    model.eval()
    return {
        str(length): _quantiles(model, numerics, length, runs, clock)
        if runs and length <= model.shape.context_length
        else None
        for length in LATENCY_LENGTHS
    }


def _quantiles(
    model: Transformer, numerics: Numerics, length: int, runs: int, clock: Callable[[], float]
) -> dict[str, float]:
    tokens = torch.zeros((1, length), dtype=torch.long, device=numerics.device)
    milliseconds = []
    for run in range(_WARMUP_RUNS + runs):
        begun = clock()
        with numerics.autocast():
            model(tokens)
        if numerics.device.type == "cuda":
            torch.cuda.synchronize(numerics.device)
        if run >= _WARMUP_RUNS:
            milliseconds.append((clock() - begun) * 1e3)
    return {f"p{q}": float(np.percentile(milliseconds, q)) for q in (50, 95, 99)}


def reset_peak_memory(device: torch.device) -> None:
    """Begin a new peak: CUDA's allocator, or the resident set of this process where Linux lets it be reset."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        (_PROCESS / "clear_refs").write_text("5")
    except OSError:
        return


def peak_memory_mb(device: torch.device) -> float | None:
    """Peak since the reset, in MB of 10^6 bytes: CUDA's allocator, or the process's resident set on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        lines = (_PROCESS / "status").read_text().splitlines()
    except OSError:
        return None
    peak = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    return int(peak) * 1024 / 1e6 if peak else None
