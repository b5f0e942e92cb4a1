"""What an hour of a node costs at any time: sampled, the fixed price of one's own machine, or unknown.

Always holds: a sample applies from its time on, and the first one before it too; a sample of the node
itself goes before one of its instance type and zone, one of its lifecycle before one of any. A stale sample
(a stand-in) counts only where no true one is known. A sweep writes down what its user says a machine costs like
any sample; a machine of one's own (no lifecycle) of which no such word is known has the fixed price; a rented one
without samples has no price: unknown is never silently zero.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from cost.amounts import Amount, amount_of, microseconds
from cost.ledger import FIXED_SOURCE, OWN, Event, Price
from cost.timeline import NodeSpec

PriceSource = Literal["sampled", "fixed", "unknown"]
ON_DEMAND = "on-demand"
_Market = tuple[str | None, str | None, str | None]  # instance type, zone, lifecycle


@dataclass(frozen=True)
class PriceCurve:
    """A step function of time. `times` in microseconds, ascending; `usd_per_hour` None where nobody knows.

    `stale`: the last that was heard of the price is that nobody knew it; `said_by`: where samples come from.
    """

    source: PriceSource
    times: tuple[int, ...]
    usd_per_hour: tuple[Fraction | None, ...]
    stale: bool = False
    said_by: str | None = None

    def at(self, time: int) -> Fraction | None:
        return self.usd_per_hour[self.step(time)]

    def step(self, time: int) -> int:
        """The number of the sample in force."""
        return max(0, bisect_right(self.times, time) - 1)

    def changes(self, start: int, end: int) -> tuple[int, ...]:
        """When the price may change between, but not at, these times."""
        return self.times[bisect_right(self.times, start) : bisect_left(self.times, end)]

    def pieces(self, start: int, end: int) -> Iterator[tuple[int, int, Fraction | None]]:
        """From, to and price, cut wherever the price may change."""
        return ((one, other, self.at(one)) for one, other in pairwise([start, *self.changes(start, end), end]))

    def cost(self, start: int, end: int) -> Amount:
        """What a whole node costs from `start` to `end`."""
        return sum((amount_of(b - a, Fraction(1), usd) for a, b, usd in self.pieces(start, end)), Amount())


UNKNOWN = PriceCurve("unknown", (0,), (None,))
FREE = PriceCurve("fixed", (0,), (Fraction(0),))


class PriceBook:
    """All price samples of a ledger, and the fixed price (None where nobody has stated one)."""

    def __init__(self, events: Iterable[Event], fixed_usd_per_hour: float | None) -> None:
        self._of_node: dict[str, list[Price]] = defaultdict(list)
        self._of_market: dict[_Market, list[Price]] = defaultdict(list)
        for event in events:
            if isinstance(event, Price) and event.node is not None:
                self._of_node[event.node].append(event)
            elif isinstance(event, Price):
                self._of_market[event.instance_type, event.zone, event.lifecycle].append(event)
        self._curves: dict[_Market, PriceCurve] = {}  # of markets, as many machines share one
        self._fixed = None if fixed_usd_per_hour is None else _exact(fixed_usd_per_hour)

    def curve(self, node: str, spec: NodeSpec) -> PriceCurve:
        of_node = [one for one in self._of_node.get(node, ()) if one.lifecycle != OWN or spec.lifecycle is None]
        if of_node:
            return _curve(of_node)
        for lifecycle in (spec.lifecycle, None):
            if curve := self._market_curve((spec.instance_type, spec.zone, lifecycle)):
                return curve
        if spec.lifecycle is None and self._fixed is not None:
            return PriceCurve("fixed", (0,), (self._fixed,))
        return UNKNOWN

    def on_demand(self, spec: NodeSpec) -> PriceCurve:
        """What a node of this type would have cost on demand."""
        return self._market_curve((spec.instance_type, spec.zone, ON_DEMAND)) or UNKNOWN

    def _market_curve(self, market: _Market) -> PriceCurve | None:
        if market not in self._curves and market in self._of_market:
            self._curves[market] = _curve(self._of_market[market])
        return self._curves.get(market)


def _curve(samples: Sequence[Price]) -> PriceCurve:
    true = [sample for sample in samples if not sample.stale] or samples
    # Of two samples at the same instant the dearer one counts.
    by_time = sorted(true, key=lambda sample: (sample.time, sample.usd_per_hour, sample.source or ""))
    heard = max(samples, key=lambda sample: (sample.heard_at, not sample.stale))
    return PriceCurve(
        "fixed" if all(sample.source == FIXED_SOURCE for sample in samples) else "sampled",
        tuple(microseconds(sample.time) for sample in by_time),
        tuple(_exact(sample.usd_per_hour) for sample in by_time),
        stale=heard.stale,
        said_by=by_time[-1].source,
    )


def _exact(usd: float) -> Fraction:
    """The decimal number that was written down, not the binary one nearest to it."""
    return Fraction(Decimal(repr(usd)))
