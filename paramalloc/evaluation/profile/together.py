"""How fast runs train side by side on one device, and what memory one of them needs.

Always holds: each is a process of its own, as trials are; all have warmed up before any is timed, and they are timed
over the same seconds; compiling is left out, as it takes longer than the measurement.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch

from paramalloc.evaluation.profile.child import child_command, child_environment
from paramalloc.evaluation.profile.latency import synchronize
from paramalloc.evaluation.profile.rehearsal import rehearsal
from paramalloc.numerics import Numerics
from paramalloc.training.run import TrainingRun

_SECONDS = 3.0
_FEWEST_STEPS = 2
_STEPS_AT_ONCE = {"cpu": 1, "cuda": 20}  # before the clock is looked at: training does not wait for each step either
_WARMUP_STEPS = 2
_CHILD = "from paramalloc.evaluation.profile.together import _child; _child()"


@dataclass(frozen=True)
class Together:
    """So many `trials` at a time: tokens per second of all together, and memory in MB of 10^6 bytes.

    `used_mb`: of the device when they had been timed, by whoever holds it; `device_mb`: all of it. None on a CPU.
    """

    trials: int
    tokens_per_second: float
    used_mb: float | None
    device_mb: float | None


def train_together(run: TrainingRun, numerics: Numerics, trials: int, seconds: float = _SECONDS) -> Together:
    """Train the run `trials` times at once for so many seconds, on as many threads each as this process has.

    Errors: RuntimeError when a process ends early, as it does when memory runs out.
    """
    plain = replace(run, training=run.training.model_copy(update={"compile": False}))
    setting = pickle.dumps((plain, numerics, torch.get_num_threads(), seconds))
    with ExitStack() as stack:
        children = [stack.enter_context(_Child(setting)) for _ in range(trials)]
        for child in children:
            child.hear()  # it has warmed up
        for child in children:
            child.go()
        found = [child.hear() for child in children]
    speed = sum(each["tokens_per_second"] for each in found)
    return Together(trials, speed, found[0]["used_mb"], found[0]["device_mb"])


class _Child:
    """A process that trains, told by a line to begin to count."""

    def __init__(self, setting: bytes) -> None:
        self._process = subprocess.Popen(
            child_command(_CHILD),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=child_environment(),
        )
        self._say(setting)

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def go(self) -> None:
        self._say(b"\n")

    def hear(self) -> dict[str, Any]:
        assert self._process.stdout
        assert self._process.stderr
        line = self._process.stdout.readline()
        if not line:
            problem = self._process.stderr.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(problem[-1] if problem else "a process that trained beside others was killed")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _say(self, message: bytes) -> None:
        assert self._process.stdin
        self._process.stdin.write(message)
        self._process.stdin.flush()


def _child() -> None:
    run, numerics, threads, seconds = pickle.load(sys.stdin.buffer)
    torch.set_num_threads(threads)
    with rehearsal(run, numerics) as trainer:
        inputs, _ = trainer.batches.batch(0)  # (B, T)
        for _ in range(_WARMUP_STEPS):
            trainer.take_step()
        synchronize(numerics)
        _answer({})
        sys.stdin.buffer.readline()
        begun, steps, elapsed = time.perf_counter(), 0, 0.0
        at_once = _STEPS_AT_ONCE[numerics.device.type]
        while steps < _FEWEST_STEPS or elapsed < seconds:
            for _ in range(at_once):
                trainer.take_step()
            synchronize(numerics)
            steps, elapsed = steps + at_once, time.perf_counter() - begun
        used_mb, device_mb = _memory_mb(numerics.device)
    speed = steps * inputs.size / elapsed
    _answer({"tokens_per_second": speed, "used_mb": used_mb, "device_mb": device_mb})


def _memory_mb(device: torch.device) -> tuple[float | None, float | None]:
    if device.type != "cuda":
        return None, None
    free, total = torch.cuda.mem_get_info(device)
    return (total - free) / 1e6, total / 1e6


def _answer(values: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()
