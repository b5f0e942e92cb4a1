"""AdamW with weight decay on matrices only, and the learning-rate schedule as a function of the step.

Always holds: the schedule has no state, so a resumed run needs only its step; it warms up linearly and ends at
zero after the last step of the budget, whatever that budget is. Updates and state are those of `torch.optim.AdamW`.
"""

from __future__ import annotations

import math
from inspect import unwrap

import torch

from paramalloc.config import TrainingConfig
from paramalloc.model import Transformer
from paramalloc.training.run import TrainingRun


def learning_rate_at(step: int, run: TrainingRun) -> float:
    """Learning rate of the 0-based `step`: linear warm-up, then a half cosine to zero (Loshchilov & Hutter 2017)."""
    total_steps = run.total_steps
    warmup_steps = round(run.training.warmup_fraction * total_steps)
    if step < warmup_steps:
        return run.learning_rate * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return run.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


class LightAdamW(torch.optim.AdamW):
    """`torch.optim.AdamW` without its guards against being compiled (torch 2.13), the same to the last bit.

    Each guard imports torch._dynamo when it is first passed: two seconds of a core in every process that trains,
    which is as long as importing torch takes. An optimiser's step is never compiled here.
    """

    add_param_group = unwrap(torch.optim.AdamW.add_param_group)
    zero_grad = unwrap(torch.optim.AdamW.zero_grad)
    state_dict = unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = unwrap(torch.optim.AdamW.load_state_dict)
    step = torch.no_grad()(unwrap(torch.optim.AdamW.step))


def make_optimizer(model: Transformer, training: TrainingConfig, learning_rate: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019), fused; LayerNorm scales and biases are not decayed."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": training.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    betas = (training.beta1, training.beta2)
    return LightAdamW(groups, lr=learning_rate, betas=betas, fused=True)
