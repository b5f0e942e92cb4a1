"""The memory that training needs at its peak.

Always holds: on CUDA it is the allocator's peak; on a CPU the peak of the resident set over what was resident before;
None where it cannot be measured.

A resident set is noisy: freed memory stays with the heap, and first uses load libraries. For one training step it is
therefore taken in a fresh process, which has made its first uses on another model, and in which every tensor of 64 kB
or more is given back when it is freed. It then varies by less than 1 % and lies 1 to 3 % above the bytes in tensors.
"""

from __future__ import annotations

import ctypes
import gc
import json
import pickle
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch

from paramalloc.allocation import Shape
from paramalloc.config import TrainingConfig
from paramalloc.evaluation.profile.child import child_command, child_environment
from paramalloc.evaluation.profile.rehearsal import rehearsal
from paramalloc.numerics import Numerics
from paramalloc.training.run import TrainingRun

_PROCESS = Path("/proc/self")
_CHILD = "from paramalloc.evaluation.profile.memory import _child; _child()"
_GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}  # glibc
_FIRST_USES = TrainingRun(
    Shape(d_model=128, n_layers=1, n_heads=4, d_ff=340, vocab_size=4096, context_length=128, tied=True),
    TrainingConfig(batch_size=8),
    budget_tokens=1,
    eval_interval_tokens=1,
    seed=0,
    learning_rate=1e-3,
)


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


def step_memory_mb(runs: Mapping[str, TrainingRun], numerics: Numerics) -> dict[str, float | None]:
    """Peak of a training step by run, in MB of 10^6 bytes: weights, gradients, moments of AdamW, and activations.

    None where it cannot be measured, or where the process that tried was killed (as when memory runs out).
    """
    if numerics.device.type == "cuda":
        return {name: _step_mb(run, numerics) for name, run in runs.items()}
    child = subprocess.run(
        child_command(_CHILD),
        input=pickle.dumps((runs, numerics, torch.get_num_threads())),
        capture_output=True,
        env=child_environment() | _GIVE_BACK,
    )
    if child.returncode > 0:
        raise RuntimeError(f"measuring memory failed: {child.stderr.decode(errors='replace')}")
    measured = dict(json.loads(line) for line in child.stdout.splitlines())
    return {name: measured.get(name) for name in runs}


def _child() -> None:
    """Measures the runs on stdin; each result is a line of its own, so that those before a kill are not lost."""
    runs, numerics, threads = pickle.load(sys.stdin.buffer)
    torch.set_num_threads(threads)
    _step_mb(_FIRST_USES, numerics)
    for name, run in runs.items():
        sys.stdout.write(json.dumps([name, _step_mb(run, numerics)]) + "\n")
        sys.stdout.flush()


def _step_mb(run: TrainingRun, numerics: Numerics) -> float | None:
    """Of one step as it is in the middle of a run: moments are there, and gradients of earlier micro-batches."""
    memory = PeakMemory(numerics.device)
    with rehearsal(run, numerics) as trainer:
        for parameter in trainer.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        trainer.optimizer.step()
        if run.training.batch_size <= trainer.micro_batch:
            trainer.optimizer.zero_grad(set_to_none=True)
        trainer.take_step()
    return memory.mb()


def _status_kb(field: str) -> int:
    lines = (_PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
