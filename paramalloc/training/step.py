"""One optimiser step, as runs and the checks before a sweep take it: gradients of a batch, then clipping and AdamW.

Always holds: the host never waits for the device; a batch cut into micro-batches gives the gradients of the whole.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from paramalloc.numerics import Numerics

Nats = Callable[[Tensor, Tensor], Tensor]  # summed loss of ids (B, T) and their targets


def accumulate_gradients(
    nats: Nats, inputs: Tensor, targets: Tensor, micro_batch: int, numerics: Numerics, scaler: torch.amp.GradScaler
) -> Tensor:
    """Backward over micro-batches of ids (B, T), wherever they lie; returns the mean loss in nats per token, ()."""
    total = torch.zeros((), dtype=torch.float64, device=numerics.device)
    for x, y in zip(inputs.split(micro_batch), targets.split(micro_batch), strict=True):
        with numerics.autocast():
            loss = nats(_moved(x, numerics.device), _moved(y, numerics.device)) / targets.numel()
        scaler.scale(loss).backward()
        total += loss.detach()
    return total


def update(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    learning_rate: float,
    grad_clip: float,
) -> Tensor:
    """Step with the gradients there are, and drop them; returns their norm before clipping, ()."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    scaler.unscale_(optimizer)
    grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), grad_clip)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return grad_norm


def _moved(ids: Tensor, device: torch.device) -> Tensor:
    """On the device; from pinned memory, as a copy from any other makes the host wait for a GPU."""
    pinned = ids.pin_memory() if device.type == "cuda" and ids.device.type == "cpu" else ids
    return pinned.to(device, non_blocking=True)
