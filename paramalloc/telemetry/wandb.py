"""Weights & Biases, for those who set WANDB_API_KEY: the same curves, on the axis of training tokens.

Always holds: a trial that is carried on continues its W&B run, and no step is sent twice; only curves and settings
are sent, neither code, console, nor what the machine is called; W&B reads its key itself, and it appears nowhere
else; W&B that does not start or breaks down is said once and never disturbs the trial.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from paramalloc.results import TrialFolder
from paramalloc.telemetry import Origin, Values

_START_SECONDS = 30  # W&B's own limits are 90 seconds, and for ever
_FINISH_SECONDS = 60


def start_run(
    project: str, folder: TrialFolder, origin: Origin, notify: Callable[[str], None]
) -> list[WeightsAndBiases]:
    """The run of this trial, begun or carried on, in a list of one; an empty list when there can be none."""
    try:
        import wandb
    except ImportError:
        notify("WANDB_API_KEY is set but wandb is not installed (pip install wandb): no W&B run")
        return []
    try:
        run = wandb.init(
            project=project,
            id=run_id(folder, origin),
            resume="allow",
            name=f"{folder.stage}/{folder.name}",
            group=origin.sweep,
            job_type=folder.stage,
            config=dict(origin.settings),
            allow_val_change=True,  # a run may be carried on under another git SHA
            dir=str(folder.path),
            settings=wandb.Settings(
                console="off",
                silent=True,
                disable_git=True,
                save_code=False,
                x_disable_meta=True,
                x_disable_stats=True,
                init_timeout=_START_SECONDS,
                finish_timeout=_FINISH_SECONDS,
            ),
        )
        run.define_metric("*", step_metric="train/tokens")
    except (wandb.Error, OSError, ValueError) as error:
        notify(f"W&B did not start ({_first_line(error)}); the trial goes on without it")
        return []
    return [WeightsAndBiases(run, (wandb.Error, OSError), notify)]


def run_id(folder: TrialFolder, origin: Origin) -> str:
    """The same for every attempt at a trial, another one for each trial and each fresh sweep."""
    identity = "/".join([origin.sweep, origin.began, folder.stage, folder.name])
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


class WeightsAndBiases:
    """The sink of one W&B run.

    Args:
        run: what `wandb.init` returned.
        breakdowns: what its methods raise when its service is gone.
        notify: told of that, once.
    """

    def __init__(self, run: Any, breakdowns: tuple[type[Exception], ...], notify: Callable[[str], None]) -> None:
        self._run, self._breakdowns, self._notify = run, breakdowns, notify
        self._broken = False

    def log(self, step: int, values: Values) -> None:
        if step >= self._run.step:  # an earlier attempt has sent the steps below, with the same values
            self._try(lambda: self._run.log(dict(values), step=step))

    def flush(self) -> None:
        """Nothing to do: W&B uploads by itself, and repeated steps are left out by number."""

    def close(self) -> None:
        self._try(self._run.finish)

    def _try(self, action: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            action()
        except self._breakdowns as error:
            self._broken = True
            self._notify(f"W&B broke down ({_first_line(error)}); the trial goes on without it")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
