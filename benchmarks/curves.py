"""The losses of our training step and of the plain loop, step by step from the same weights on the same batches.

Always holds: the two share initial weights, batches, learning rate and optimiser settings, and nothing else.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from benchmarks.plain_model import PlainTransformer
from paramalloc.allocation import Shape
from paramalloc.config import TrainingConfig
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics
from paramalloc.training.probe import Probe

_BATCHES, _LEARNING_RATE = 8, 1e-3  # few batches, so that the losses fall


def loss_curves(shape: Shape, batch_size: int, precision: str, steps: int) -> tuple[list[float], list[float]]:
    """Losses in nats per token before each of `steps` steps: of our step, and of the plain loop."""
    training = TrainingConfig(batch_size=batch_size)
    numerics = Numerics(torch.device("cpu"), precision)
    model, plain = Transformer(shape, seed=0), PlainTransformer(shape)
    plain.load_state_dict(model.state_dict())
    probe = Probe(model, training, numerics)
    matrices = [parameter for parameter in plain.parameters() if parameter.dim() >= 2]
    vectors = [parameter for parameter in plain.parameters() if parameter.dim() < 2]
    groups = [{"params": matrices, "weight_decay": training.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=_LEARNING_RATE, betas=(training.beta1, training.beta2), foreach=False)
    ours, theirs = list[float](), list[float]()
    for step in range(steps):
        inputs, targets = _batch(shape, batch_size, step % _BATCHES)
        ours.append(probe.step(inputs, targets, _LEARNING_RATE).loss)
        with numerics.autocast():
            loss = F.cross_entropy(plain(inputs).flatten(0, 1).float(), targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), training.grad_clip)
        optimizer.step()
        optimizer.zero_grad()
        theirs.append(loss.item())
    return ours, theirs


def _batch(shape: Shape, batch_size: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(number)
    tokens = torch.randint(shape.vocab_size, (batch_size, shape.context_length + 1), generator=random)
    return tokens[:, :-1], tokens[:, 1:]
