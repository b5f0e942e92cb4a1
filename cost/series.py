"""Money over time: cumulative spending by use, and the price samples of each market, as plain lists to draw.

Always holds: the last point of the spending is the bill; between two points it is a straight line, so nothing
is lost by drawing one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from cost.amounts import MICROSECONDS
from cost.bill import USES, make_bill
from cost.ledger import Price, parse

Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Spending:
    """Dollars spent until each time (Unix seconds), by use; seconds without a known price cost nothing here."""

    times: tuple[float, ...]
    usd_by_use: dict[str, tuple[float, ...]]


def spending(rows: Rows, fixed_usd_per_hour: float | None) -> Spending:
    """The bill of a ledger's rows as it grew. What a use is, is known by hindsight: killed from its first second."""
    bill = make_bill(parse(rows), fixed_usd_per_hour)
    # Per use: at these times the dollars per microsecond change by so much, or dollars fall due at once.
    slopes: dict[str, dict[int, Fraction]] = {use: defaultdict(Fraction) for use in USES}
    jumps: dict[str, dict[int, Fraction]] = {use: defaultdict(Fraction) for use in USES}
    for piece in bill.pieces:
        usd, use = piece.charge.amount.usd, piece.charge.use
        if piece.start == piece.end:
            jumps[use][piece.end] += usd
        else:
            slopes[use][piece.start] += usd / (piece.end - piece.start)
            slopes[use][piece.end] -= usd / (piece.end - piece.start)
    edges = sorted({time for piece in bill.pieces for time in (piece.start, piece.end)})
    return Spending(
        tuple(edge / MICROSECONDS for edge in edges),
        {use: tuple(_grown(edges, slopes[use], jumps[use])) for use in USES},
    )


def _grown(edges: list[int], slopes: Mapping[int, Fraction], jumps: Mapping[int, Fraction]) -> Iterable[float]:
    total, slope, before = Fraction(0), Fraction(0), 0
    for edge in edges:
        total += slope * (edge - before) + jumps.get(edge, 0)
        slope, before = slope + slopes.get(edge, 0), edge
        yield float(total)


@dataclass(frozen=True)
class Samples:
    """Prices of one market, each from its time (Unix seconds) on."""

    instance_type: str
    zone: str
    lifecycle: str | None
    times: tuple[float, ...]
    usd_per_hour: tuple[float, ...]


def price_samples(rows: Rows) -> list[Samples]:
    """The true samples of every market in a ledger, by type, zone and lifecycle; stand-ins are left out."""
    markets: dict[tuple[str, str, str], set[tuple[float, float]]] = defaultdict(set)
    for event in parse(rows):
        if isinstance(event, Price) and event.instance_type and event.zone and not (event.stale or event.node):
            markets[event.instance_type, event.zone, event.lifecycle or ""].add((event.time, event.usd_per_hour))
    return [
        Samples(instance_type, zone, lifecycle or None, *map(tuple, zip(*sorted(samples), strict=True)))
        for (instance_type, zone, lifecycle), samples in sorted(markets.items())
    ]
