"""The horizontal axis of a knob figure: where each variant stands, and what is written beneath it.

Always holds: values that span a factor of eight or more are spaced logarithmically; the variants' own values are the
ticks where there is room for them; the baseline is named.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from matplotlib.axes import Axes

from paramalloc.formats import compact
from paramalloc.report.figures.style import plain_ticks, short_name, tick_text
from paramalloc.report.knob import Knob

_LOG_FROM_RATIO = 8
_LETTERS_IN_A_ROW = 36  # of names side by side; with more they lean
_LEANING_INCHES = 0.4
# Shares of the range of the values:
_CLOSEST_TICKS = 0.12  # values closer than this cannot all be labelled
_SIDE_MARGIN = 0.2


@dataclass(frozen=True)
class KnobAxis:
    """The knob, and the variants that stand along it in the order of `names`; the baseline need not be among them."""

    knob: Knob
    names: Sequence[str]
    baseline: str

    @property
    def extra_inches(self) -> float:
        """How much higher than usual the figure has to be for what is written beneath."""
        return _LEANING_INCHES if self._names_lean else 0.0

    def place(self, name: str) -> float:
        """The variant's x in data units."""
        return float(self.names.index(name)) if self.knob.values is None else self.knob.values[name]

    def move(self, x: float, share: float) -> float:
        """The place `share` of the values' range to the right of x (to the left if negative)."""
        low, high = self._range
        return x * (high / low) ** share if self._log else x + share * (high - low or 1.0)

    def distance(self, a: float, b: float) -> float:
        """How far apart two values are drawn, as a share of the values' range."""
        low, high = self._range
        return abs(math.log(a / b) / math.log(high / low) if self._log else (a - b) / (high - low or 1.0))

    def apply(self, axes: Axes) -> None:
        """Set label, scale, limits and ticks of a panel, and with it of those that share its axis."""
        low, high = self._range
        axes.set_xlabel(self.knob.label)
        axes.set_xscale("log" if self._log else "linear")
        axes.set_xlim(self.move(low, -_SIDE_MARGIN), self.move(high, _SIDE_MARGIN))
        if self.knob.values is None:
            self._tick_names(axes)
        else:
            self._tick_values(axes)

    def _tick_names(self, axes: Axes) -> None:
        lean = self._names_lean
        role = " (baseline)" if lean else "\nbaseline"
        texts = [short_name(name) + (role if name == self.baseline else "") for name in self.names]
        axes.set_xticks(
            range(len(self.names)),
            texts,
            rotation=35 if lean else 0,
            ha="right" if lean else "center",
            rotation_mode="anchor" if lean else "default",
        )

    def _tick_values(self, axes: Axes) -> None:
        values = sorted({self.place(name) for name in self.names})
        if any(self.distance(a, b) < _CLOSEST_TICKS for a, b in pairwise(values)):
            plain_ticks(axes.xaxis)
            return
        baseline = self.place(self.baseline) if self.baseline in self.names else None
        axes.set_xticks(values, [_text(value) + ("\nbaseline" if value == baseline else "") for value in values])
        axes.minorticks_off()

    @cached_property
    def _range(self) -> tuple[float, float]:
        places = [self.place(name) for name in self.names]
        return min(places), max(places)

    @cached_property
    def _log(self) -> bool:
        low, high = self._range
        return self.knob.values is not None and low > 0 and high >= _LOG_FROM_RATIO * low

    @property
    def _names_lean(self) -> bool:
        return self.knob.values is None and sum(map(len, self.names)) > _LETTERS_IN_A_ROW


def _text(value: float) -> str:
    return compact(value) if value >= 100_000 else tick_text(float(f"{value:.3g}"))
