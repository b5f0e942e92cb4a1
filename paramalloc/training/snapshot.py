"""Copies of a run's state in CPU memory, which a thread can write while training changes the originals.

Always holds: a copy shares no memory with what it was taken from, and is complete when it is handed out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class HasWeights(Protocol):
    """A model, or a copy of its weights."""

    def state_dict(self) -> Mapping[str, Tensor]: ...


@dataclass(frozen=True)
class FrozenWeights:
    """A copy that stands in for a model where only its weights are asked for."""

    tensors: Mapping[str, Tensor]

    @classmethod
    def of(cls, model: HasWeights) -> FrozenWeights:
        return cls(snapshot(distinct(model.state_dict())))

    def state_dict(self) -> Mapping[str, Tensor]:
        return self.tensors


def distinct(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One name, the first, per piece of memory: a tied head is the token table."""
    names: dict[int, str] = {}
    for name, tensor in tensors.items():
        names.setdefault(tensor.data_ptr(), name)
    return {name: tensors[name] for name in names.values()}


def snapshot(value: Any) -> Any:
    """Nested dicts and lists with copies of their tensors; tensors on a GPU are sent to pinned memory all at once."""
    devices: set[torch.device] = set()
    copied = _copied(value, devices)
    for device in devices:
        torch.cuda.synchronize(device)
    return copied


def _copied(value: Any, devices: set[torch.device]) -> Any:
    """`devices` gathers the GPUs that copies are still under way from."""
    if isinstance(value, Tensor):
        tensor = value.detach()
        if not tensor.is_cuda:
            return tensor.clone()
        devices.add(tensor.device)
        return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: _copied(item, devices) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(item, devices) for item in value)
    return value
