"""A run's curves while it trains: TensorBoard files beside the trial, and W&B where its key is set.

Always holds: training is the same with and without telemetry; what was logged up to a checkpoint is on disk when
the checkpoint is, so a run that was cut and carried on shows each step once; nothing leaves the machine unless
WANDB_API_KEY is set. Names are those of history.jsonl, grouped: `train/grad_norm`, `dev/dev_ppl`, `gpu/...`.

    telemetry = open_telemetry(config.telemetry, folder, origin, trainer.progress.step, numerics.device)
    with closing(telemetry):
        trainer.train(on_evaluation, telemetry)
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from paramalloc.config import TelemetryConfig
    from paramalloc.results import TrialFolder

Values = Mapping[str, float]
_GROUPS = ("dev", "gpu")


class Sink(Protocol):
    """Where curves go."""

    def log(self, step: int, values: Values) -> None:
        """Finite values by tag, after `step` optimiser steps; steps only rise."""

    def flush(self) -> None:
        """Make what was logged durable."""

    def close(self) -> None: ...


class Telemetry:
    """Hands what a run logs to every sink, with what a probe reads beside it. Without sinks it does nothing."""

    def __init__(self, sinks: Sequence[Sink] = (), probe: Callable[[], Values] = dict) -> None:
        self.sinks, self._probe = tuple(sinks), probe

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        """`values` by their names in history.jsonl; None and what is not finite is left out."""
        if not self.sinks:
            return
        known = {
            _tag(name): value
            for name, value in {**values, **self._probe()}.items()
            if value is not None and math.isfinite(value)
        }
        for sink in self.sinks:
            sink.log(step, known)

    def flush(self) -> None:
        for sink in self.sinks:
            sink.flush()

    def close(self) -> None:
        for sink in self.sinks:
            sink.close()


def _tag(name: str) -> str:
    group = name.split("_", 1)[0]
    return f"{group if group in _GROUPS else 'train'}/{name}"


@dataclass(frozen=True)
class Origin:
    """Whose curves they are, beyond stage and trial.

    Args:
        sweep: its name.
        began: tells this sweep from an earlier one of the same name, and stays when the sweep is carried on.
        settings: resolved knobs, tokenizer hash, git SHA, seed: what W&B shows beside the curves. No secrets.
    """

    sweep: str
    began: str
    settings: Mapping[str, Any]


def open_telemetry(
    config: TelemetryConfig,
    folder: TrialFolder,
    origin: Origin,
    resume_step: int,
    device: torch.device,
    notify: Callable[[str], None] = lambda line: None,
    environ: Mapping[str, str] = os.environ,
) -> Telemetry:
    """The sinks that configuration and environment ask for.

    Args:
        config: the sweep file's `telemetry`.
        folder: the trial's, which gets the files.
        origin: what else identifies and explains the run.
        resume_step: the step the run carries on from; what an earlier attempt logged after it is void.
        device: whose utilisation and memory are logged too, where it is a GPU and NVML knows it.
        notify: told, once, why there is no W&B although its key is set.
        environ: environment variables.

    Errors: OSError when the folder cannot be written. W&B that cannot be had is no error.
    """
    sinks: list[Sink] = []
    if config.tensorboard:
        from paramalloc.telemetry.tensorboard import TensorBoard  # a third of a second

        sinks.append(TensorBoard(folder.tensorboard, resume_step))
    if environ.get("WANDB_API_KEY"):
        from paramalloc.telemetry.wandb import start_run

        sinks.extend(start_run(config.wandb_project, folder, origin, notify))
    if not sinks:
        return Telemetry()
    from paramalloc.telemetry.gpu import gpu_probe

    return Telemetry(sinks, gpu_probe(device))
