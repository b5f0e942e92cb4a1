"""What steps came to since somebody last looked, added up on the device so that no step makes the host wait.

Always holds: a step whose loss or gradient is not finite counts as skipped and leaves no trace in the mean loss;
only `read` waits for the device; a tally that went through `state` and `load` counts on as if nothing had happened.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Window:
    """The steps between two looks.

    `loss_sum` is over the `taken` ones, in nats per token; `most_skips_in_a_row` may have begun before the window;
    `grad_norm` is the last step's, before clipping.
    """

    loss_sum: float
    taken: int
    skipped: int
    most_skips_in_a_row: int
    grad_norm: float | None

    @property
    def train_loss(self) -> float | None:
        """Mean over the steps taken; None where all were skipped."""
        return self.loss_sum / self.taken if self.taken else None


class Tally:
    """Counts of the steps since `clear`, float64 () each, on `device`."""

    def __init__(self, device: torch.device) -> None:
        names = ("loss_sum", "taken", "skipped", "skips_in_a_row", "most_skips_in_a_row", "grad_norm")
        self._device = device
        self._counts = {name: torch.zeros((), dtype=torch.float64, device=device) for name in names}

    def add(self, loss: Tensor, grad_norm: Tensor) -> None:
        """One step's mean loss and the norm of its gradient, () each, on the device."""
        counts = self._counts
        finite = torch.isfinite(loss) & torch.isfinite(grad_norm)
        counts["loss_sum"] += torch.where(finite, loss, 0.0)
        counts["taken"] += finite
        counts["skipped"] += ~finite
        counts["skips_in_a_row"] = torch.where(finite, 0.0, counts["skips_in_a_row"] + 1)
        counts["most_skips_in_a_row"] = torch.maximum(counts["most_skips_in_a_row"], counts["skips_in_a_row"])
        counts["grad_norm"] = grad_norm.double()

    def read(self) -> Window:
        """The window so far; waits for the device."""
        read = dict(zip(self._counts, torch.stack(list(self._counts.values())).tolist(), strict=True))
        return Window(
            loss_sum=read["loss_sum"],
            taken=int(read["taken"]),
            skipped=int(read["skipped"]),
            most_skips_in_a_row=int(read["most_skips_in_a_row"]),
            grad_norm=read["grad_norm"] if math.isfinite(read["grad_norm"]) else None,
        )

    def clear(self) -> None:
        """Begin a new window; only skips that are going on are carried into it."""
        for name in ("loss_sum", "taken", "skipped", "most_skips_in_a_row"):
            self._counts[name].zero_()

    def state(self) -> dict[str, Tensor]:
        return {name: value.cpu() for name, value in self._counts.items()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self._counts = {name: value.to(self._device) for name, value in state.items()}
