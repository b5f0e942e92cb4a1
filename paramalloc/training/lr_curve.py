"""Reading a learning-rate range test: whether the loss falls, where its descent is nearly done, and where it ends.

Always holds: a pure function of the curve. Everything is read off a smoothed copy, a Gaussian mean over a tenth of a
decade to either side, which unlike a running mean does not lag behind the rising learning rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_SMOOTHING_DECADES = 0.1
_START_DECADES = 0.5  # the lowest rates, which change next to nothing, show where the loss starts
_LEAST_DROP = 0.03  # of the loss at the start; less is no learning
_LEAST_GAIN = 0.01  # of the drop so far; what is lower by less is noise and no new lowest loss
_RISE = 0.1  # of the drop; where the loss has come up again by so much, the descent is over
_NEARLY = 0.9  # of the drop
_PATIENCE_DECADES = 0.75  # the descent is over, too, where the loss has stayed flat for so long


@dataclass(frozen=True)
class LrCurve:
    """A range test so far: S rates, rising by the same factor each step, and the finite loss before each (nats)."""

    rates: Sequence[float]
    losses: Sequence[float]

    @cached_property
    def smoothed(self) -> np.ndarray:
        """(S,) nats per token."""
        distance = (self._decades[:, None] - self._decades) / _SMOOTHING_DECADES
        weights = np.exp(-0.5 * distance**2)
        return weights @ np.asarray(self.losses) / weights.sum(axis=1)

    @cached_property
    def start(self) -> float:
        """The loss before anything was learnt."""
        first = self._decades <= self._decades[0] + _START_DECADES
        return float(np.mean(np.asarray(self.losses)[first]))

    @property
    def lowest(self) -> int:
        """The step at which the descent ended, or the last step where it has not."""
        return self._descent[0]

    @property
    def is_over(self) -> bool:
        """Whether the loss has stopped falling, so that higher rates have nothing more to show."""
        return self._descent[1]

    @property
    def drop(self) -> float:
        """Nats per token that were gained in the descent."""
        return self.start - float(self.smoothed[self.lowest])

    @property
    def fell(self) -> bool:
        """Whether anything was learnt at all."""
        return self.drop > _LEAST_DROP * self.start

    @property
    def nearly_down(self) -> float:
        """The learning rate at which 90 % of the descent was done, between two steps; needs a loss that fell."""
        level = self.start - _NEARLY * self.drop
        after = max(1, int(np.argmax(self.smoothed[: self.lowest + 1] <= level)))
        above, below = self.smoothed[after - 1], self.smoothed[after]
        share = (above - level) / (above - below)
        return float(10 ** (self._decades[after - 1] + share * (self._decades[after] - self._decades[after - 1])))

    @cached_property
    def _decades(self) -> np.ndarray:
        return np.log10(self.rates)

    @cached_property
    def _descent(self) -> tuple[int, bool]:
        lowest = 0
        for step, loss in enumerate(self.smoothed):
            drop = self.start - self.smoothed[lowest]
            if loss < self.smoothed[lowest] - _LEAST_GAIN * max(0.0, drop):
                lowest = step
            elif drop > _LEAST_DROP * self.start:
                flat = self._decades[step] - self._decades[lowest] > _PATIENCE_DECADES
                if flat or loss > self.smoothed[lowest] + _RISE * drop:
                    return lowest, True
        return lowest, False
