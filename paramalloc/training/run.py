"""What one training run is, as plain data: steps and evaluation points follow from its budget alone. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from paramalloc.allocation import Shape
from paramalloc.config import TrainingConfig


@dataclass(frozen=True)
class Budget:
    """What a token budget comes to for one shape: schedule and evaluations are cut to it."""

    shape: Shape
    training: TrainingConfig
    budget_tokens: int
    eval_interval_tokens: int

    @property
    def step_tokens(self) -> int:
        return self.training.batch_size * self.shape.context_length

    @property
    def total_steps(self) -> int:
        """Optimiser steps; the last one may overshoot the budget by less than one batch."""
        return math.ceil(self.budget_tokens / self.step_tokens)

    @property
    def total_tokens(self) -> int:
        """What is really trained: whole steps."""
        return self.total_steps * self.step_tokens

    @property
    def evaluation_steps(self) -> list[int]:
        """After how many steps dev is scored: the first at or past each interval, and the last."""
        per_interval = self.eval_interval_tokens / self.step_tokens
        count = math.floor(self.total_steps / per_interval)
        return sorted({max(1, math.ceil(k * per_interval)) for k in range(1, count + 1)} | {self.total_steps})

    def run(self, seed: int, learning_rate: float) -> TrainingRun:
        return TrainingRun(
            self.shape, self.training, self.budget_tokens, self.eval_interval_tokens, seed, learning_rate
        )


@dataclass(frozen=True)
class TrainingRun(Budget):
    """One run: a budget, the seed of weights and data order, and the peak learning rate.

    `training.learning_rate` may be a list or `auto`; `learning_rate` is the one value that this run uses.
    """

    seed: int
    learning_rate: float
