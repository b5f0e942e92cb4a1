"""Latency of one forward pass, and the memory that training needed.

Always holds: a figure that could not be measured is None, never 0. Latency is at batch 1 after warm-up; on a shared
machine it is only as quiet as its neighbours.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from paramalloc.model import Transformer
from paramalloc.numerics import Numerics

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
    for _ in range(_WARMUP_RUNS + runs):
        begun = clock()
        with numerics.autocast():
            model(tokens)
        if numerics.device.type == "cuda":
            torch.cuda.synchronize(numerics.device)
        milliseconds.append((clock() - begun) * 1e3)
    return {f"p{q}": float(np.percentile(milliseconds[_WARMUP_RUNS:], q)) for q in (50, 95, 99)}


class PeakMemory:
    """The most memory that this process needed at once for what it did since this object was made.

    On CUDA that is the allocator's peak; on a CPU the peak of the resident set over what was resident before, with
    memory that earlier work freed handed back to the system first, so that a warm process counts as a fresh one.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._before_kb: int | None = None
        gc.collect()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        with suppress(OSError, AttributeError):  # only glibc has malloc_trim, only Linux /proc
            ctypes.CDLL(None).malloc_trim(0)
            (_PROCESS / "clear_refs").write_text("5")  # resets VmHWM, see proc(5)
            self._before_kb = _status_kb("VmRSS")

    def mb(self) -> float | None:
        """Peak so far in MB of 10^6 bytes, None where it cannot be measured."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e6
        if self._before_kb is None:
            return None
        return (_status_kb("VmHWM") - self._before_kb) * 1024 / 1e6


def _status_kb(field: str) -> int:
    lines = (_PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
