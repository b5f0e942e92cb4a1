"""What the driver knows of one trial while a stage runs.

Always holds: plain state, changed by the recorder alone; whoever displays it only reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from paramalloc.results import TrialFolder
from paramalloc.sweep.trials.attempts import Attempts
from paramalloc.sweep.trials.tasks import TrialTask

WAITING, RUNNING = "waiting", "running"


@dataclass
class TrialState:
    """What the driver knows of one trial; `status` is waiting, running, or one of metrics.json's."""

    task: TrialTask
    folder: TrialFolder
    attempts: Attempts
    status: str = WAITING
    rows: list[dict[str, Any]] = field(default_factory=list)
    finished: dict[str, Any] | None = None
    started: dict[str, Any] | None = None
    node: str | None = None
    same_run_as: str | None = None  # of another stage, which it was taken over from
    leaving: bool = False  # it has said why it ends, so the loss of its worker is no news
    errors: int = 0  # of its own, in this session

    @property
    def done(self) -> bool:
        return self.status not in (WAITING, RUNNING)

    @property
    def place_in_line(self) -> tuple[bool, bool]:
        """Sorts those that wait for a machine: the baseline first, then what was begun before."""
        return not self.task.is_baseline, self.started is None

    @property
    def tokens(self) -> int:
        return int(self.rows[-1]["tokens"]) if self.rows else 0

    @property
    def tokens_per_second(self) -> float | None:
        """Training speed since the trial's first step, None before its first evaluation."""
        seconds = self.rows[-1]["training_seconds"] if self.rows else 0.0
        return self.tokens / seconds if seconds else None
