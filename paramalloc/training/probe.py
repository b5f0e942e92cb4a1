"""A few training steps at learning rates of one's choosing: what the checks before a sweep train with.

Always holds: a step is the one of a real run (`training.step`), only without schedule, history and checkpoint.
`Probe(Transformer(shape), training, numerics).step(inputs, targets, 1e-3)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from paramalloc.config import TrainingConfig
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics, micro_batch_size
from paramalloc.training.optimizer import make_optimizer
from paramalloc.training.step import accumulate_gradients, update


@dataclass(frozen=True)
class ProbeStep:
    """Mean loss in nats per token and norm of the gradient before clipping, both with the weights before the step."""

    loss: float
    grad_norm: float

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss)


class Probe:
    """Trains `model` in place; betas, weight decay and clipping are those of `training`."""

    def __init__(self, model: Transformer, training: TrainingConfig, numerics: Numerics) -> None:
        self.model, self.training, self.numerics = model, training, numerics
        self.optimizer = make_optimizer(model, training, learning_rate=0.0)  # every step brings its own
        self.scaler = numerics.scaler()

    def step(self, inputs: Tensor, targets: Tensor, learning_rate: float) -> ProbeStep:
        """One optimiser step on `inputs` and `targets`, ids (B, T) each on the model's device."""
        size = micro_batch_size(len(inputs), inputs.shape[1], self.numerics.device)
        loss = accumulate_gradients(self.model.nats, inputs, targets, size, self.numerics, self.scaler)
        grad_norm = update(self.model, self.optimizer, self.scaler, learning_rate, self.training.grad_clip)
        return ProbeStep(loss.item(), grad_norm.item())
