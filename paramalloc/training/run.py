"""What one training run is, as plain data: steps and evaluation points follow from its budget alone. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from paramalloc.allocation import Shape
from paramalloc.config import TrainingConfig


@dataclass(frozen=True)
class TrainingRun:
    """What one run is: a shape, its knobs, and a token budget that schedule and evaluations are cut to."""

    shape: Shape
    training: TrainingConfig
    budget_tokens: int
    eval_interval_tokens: int
    seed: int

    @property
    def step_tokens(self) -> int:
        return self.training.batch_size * self.shape.context_length

    @property
    def total_steps(self) -> int:
        """Optimiser steps; the last one may overshoot the budget by less than one batch."""
        return math.ceil(self.budget_tokens / self.step_tokens)

    @property
    def evaluation_steps(self) -> list[int]:
        """After how many steps dev is scored: the first at or past each interval, and the last."""
        per_interval = self.eval_interval_tokens / self.step_tokens
        count = math.floor(self.total_steps / per_interval)
        return sorted({max(1, math.ceil(k * per_interval)) for k in range(1, count + 1)} | {self.total_steps})
