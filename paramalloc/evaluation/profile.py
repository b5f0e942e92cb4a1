"""Latency of one forward pass, and the memory that training needed.

Always holds: a figure that could not be measured is None, never 0. A figure is only as quiet as the machine, so
what a verdict rests on is measured by `paramalloc.sweep.work.profile_variants`, with no trial beside it.
"""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Mapping
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
    models: Mapping[str, Transformer],
    numerics: Numerics,
    runs: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, dict[str, dict[str, float] | None]]:
    """Milliseconds of a forward pass at batch 1, by model: `{"128": {"p50":, "p95":, "p99":}, "512": None}`.

    The models take turns pass by pass, so that whatever else the machine does falls on all of them alike. A length
    beyond a model's context, or `runs` = 0, gives None.
    """
    quantiles: dict[str, dict[str, dict[str, float] | None]] = {name: {} for name in models}
    for length in LATENCY_LENGTHS:
        fitting = {name: model.eval() for name, model in models.items() if length <= model.shape.context_length}
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(_WARMUP_RUNS + runs if runs else 0):
            for name, model in fitting.items():
                times[name].append(_forward_ms(model, length, numerics, clock))
        for name, measured in times.items():
            quantiles[name][str(length)] = _quantiles(measured[_WARMUP_RUNS:])
    return quantiles


def _forward_ms(model: Transformer, length: int, numerics: Numerics, clock: Callable[[], float]) -> float:
    tokens = torch.zeros((1, length), dtype=torch.long, device=numerics.device)
    begun = clock()
    with numerics.autocast():
        model(tokens)
    if numerics.device.type == "cuda":
        torch.cuda.synchronize(numerics.device)
    return (clock() - begun) * 1e3


def _quantiles(milliseconds: list[float]) -> dict[str, float] | None:
    if not milliseconds:
        return None
    return {f"p{q}": float(np.percentile(milliseconds, q)) for q in (50, 95, 99)}


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
