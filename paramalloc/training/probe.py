"""A few training steps at learning rates of one's choosing: what the checks before a sweep train with.

Always holds: a step is the one of a real run (autocast, loss scaling, micro-batches, clipping, AdamW), only without
schedule, history and checkpoint. `Probe(Transformer(shape), training, numerics).step(inputs, targets, 1e-3)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from paramalloc.config import TrainingConfig
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics, micro_batch_size
from paramalloc.training.optimizer import make_optimizer


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
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        loss = self._accumulate_gradients(inputs, targets)
        self.scaler.unscale_(self.optimizer)
        grad_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.training.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return ProbeStep(loss.item(), grad_norm.item())

    def _accumulate_gradients(self, inputs: Tensor, targets: Tensor) -> Tensor:
        size = micro_batch_size(len(inputs), inputs.shape[1], self.numerics.device)
        total = torch.zeros((), dtype=torch.float64, device=self.numerics.device)
        for x, y in zip(inputs.split(size), targets.split(size), strict=True):
            with self.numerics.autocast():
                loss = self.model.nats(x, y) / targets.numel()
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return total
