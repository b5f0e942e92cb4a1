"""What an hour of a node costs at any time: sampled, the fixed price of one's own machine, or unknown.

Always holds: a sample applies from its time on, and the first one before it too; a sample of the node
itself goes before one of its instance type and zone. A machine of one's own (no lifecycle) without samples
has the fixed price; a rented one without samples has no price: unknown is never silently zero.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from cost.ledger import Event, Price
from cost.timeline import NodeSpec, microseconds

PriceSource = Literal["sampled", "fixed", "unknown"]


@dataclass(frozen=True)
class PriceCurve:
    """A step function of time. `times` in microseconds, ascending; `usd_per_hour` None where nobody knows."""

    source: PriceSource
    times: tuple[int, ...]
    usd_per_hour: tuple[Fraction | None, ...]

    def at(self, time: int) -> Fraction | None:
        return self.usd_per_hour[max(0, bisect_right(self.times, time) - 1)]


class PriceBook:
    """All price samples of a ledger, and the fixed price (None where nobody has stated one)."""

    def __init__(self, events: Iterable[Event], fixed_usd_per_hour: float | None) -> None:
        self._samples = [event for event in events if isinstance(event, Price)]
        self._fixed = None if fixed_usd_per_hour is None else _exact(fixed_usd_per_hour)

    def curve(self, node: str, spec: NodeSpec) -> PriceCurve:
        samples = [sample for sample in self._samples if sample.node == node]
        if not samples and None not in (spec.instance_type, spec.zone):
            market = (None, spec.instance_type, spec.zone)
            samples = [s for s in self._samples if (s.node, s.instance_type, s.zone) == market]
        if samples:
            # Of two samples at the same instant the dearer one counts.
            samples.sort(key=lambda sample: (sample.time, sample.usd_per_hour))
            times = tuple(microseconds(sample.time) for sample in samples)
            return PriceCurve("sampled", times, tuple(_exact(sample.usd_per_hour) for sample in samples))
        if spec.lifecycle is None and self._fixed is not None:
            return PriceCurve("fixed", (0,), (self._fixed,))
        return PriceCurve("unknown", (0,), (None,))


def _exact(usd: float) -> Fraction:
    """The decimal number that was written down, not the binary one nearest to it."""
    return Fraction(Decimal(repr(usd)))
