"""`python -m cost prices`: what instance types cost now, spot beside on-demand, and what a unit of training costs.

Always holds: every price comes with who said so; a type that nobody can price is a problem in words, not a zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from cost.instances import Throughput
from cost.sources import PriceSource, PriceUnavailableError, Quote


@dataclass(frozen=True)
class Offer:
    """An instance type in one zone, or on demand in all (`zone` None). `saving`: part of the on-demand price."""

    instance_type: str
    zone: str | None
    spot_usd_per_hour: float | None
    spot_since: float | None
    spot_source: str | None
    on_demand_usd_per_hour: float | None
    on_demand_source: str | None
    on_demand_stale: bool
    saving: float | None
    usd_per_unit: float | None

    @property
    def usd_per_hour(self) -> float | None:
        return self.on_demand_usd_per_hour if self.spot_usd_per_hour is None else self.spot_usd_per_hour


@dataclass(frozen=True)
class Offers:
    """All offers, cheapest per unit first where that is known, and what could not be had."""

    offers: tuple[Offer, ...]
    problems: tuple[str, ...]
    unit: str
    throughput_source: str

    @property
    def cheapest(self) -> Offer | None:
        """Per unit of training throughput."""
        known = [offer for offer in self.offers if offer.usd_per_unit is not None]
        return min(known, key=lambda offer: offer.usd_per_unit or 0.0, default=None)

    def json(self) -> dict[str, Any]:
        return {
            "offers": [asdict(offer) | {"spot_since": _iso(offer.spot_since)} for offer in self.offers],
            "unit": self.unit,
            "cheapest": None if self.cheapest is None else [self.cheapest.instance_type, self.cheapest.zone],
            "throughput_source": self.throughput_source,
            "problems": list(self.problems),
        }


def find_offers(
    instance_types: Iterable[str], spot: PriceSource, on_demand: PriceSource, throughput: Throughput, now: float
) -> Offers:
    """Ask for the present prices of each type."""
    offers: list[Offer] = []
    problems: list[str] = []
    for instance_type in instance_types:
        market, market_problems = _ask(spot, "spot", instance_type, now)
        listed, list_problems = _ask(on_demand, "on demand", instance_type, now)
        problems += [*market_problems, *list_problems]
        in_force = {quote.zone: quote for quote in market}  # the last of each zone
        if market or listed:
            quotes: Sequence[Quote | None] = list(in_force.values()) or [None]
            list_price, units = listed[-1] if listed else None, throughput.per_hour.get(instance_type)
            offers += [_offer(instance_type, quote, list_price, units) for quote in quotes]
    offers.sort(key=_cheapest_first)
    return Offers(tuple(offers), tuple(problems), throughput.unit, throughput.source)


def _ask(source: PriceSource, kind: str, instance_type: str, now: float) -> tuple[list[Quote], list[str]]:
    try:
        return source.quotes(instance_type, now, now), []
    except PriceUnavailableError as error:
        return [], [f"{instance_type} {kind}: {error}"]


def _offer(instance_type: str, spot: Quote | None, listed: Quote | None, units: float | None) -> Offer:
    price = spot or listed
    return Offer(
        instance_type=instance_type,
        zone=spot.zone if spot else None,
        spot_usd_per_hour=spot.usd_per_hour if spot else None,
        spot_since=spot.time if spot else None,
        spot_source=spot.source if spot else None,
        on_demand_usd_per_hour=listed.usd_per_hour if listed else None,
        on_demand_source=listed.source if listed else None,
        on_demand_stale=listed.stale if listed else False,
        saving=1 - spot.usd_per_hour / listed.usd_per_hour if spot and listed else None,
        usd_per_unit=price.usd_per_hour / units if price and units else None,
    )


def _cheapest_first(offer: Offer) -> tuple[bool, float, float, str, str]:
    per_unit, per_hour = offer.usd_per_unit, offer.usd_per_hour
    return (per_unit is None, per_unit or 0.0, per_hour or 0.0, offer.instance_type, offer.zone or "")


def print_offers(found: Offers, region: str, console: Console) -> None:
    """A table of the offers, then where its numbers come from and what could not be had."""

    def line(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    line(f"Linux instances in {region}, USD per hour")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    for head in ("type", "zone", "since (UTC)"):
        table.add_column(head, no_wrap=True)
    for head in ("spot", "on demand", "saving", "per unit"):
        table.add_column(head, justify="right", no_wrap=True)
    for offer in found.offers:
        table.add_row(
            offer.instance_type,
            offer.zone or "any",
            (_iso(offer.spot_since) or "-")[5:16].replace("T", " ") or "-",
            _number(offer.spot_usd_per_hour),
            _number(offer.on_demand_usd_per_hour),
            "-" if offer.saving is None else f"{offer.saving:.0%}",
            _number(offer.usd_per_unit),
        )
    if table.rows:
        console.print(table)
    best = found.cheapest
    if best:
        kind = "on demand" if best.spot_usd_per_hour is None else f"spot in {best.zone}"
        line(f"cheapest training: {best.instance_type}, {kind}, ${_number(best.usd_per_unit)} per unit")
        line(f"unit: {found.unit} ({found.throughput_source})")
    for kind, sources in (
        ("spot", {offer.spot_source: None for offer in found.offers}),
        ("on demand", {offer.on_demand_source: None for offer in found.offers}),
    ):
        for source in filter(None, sources):
            line(f"{kind}: {source}")
    for why, whats in _by_reason(found.problems).items():
        line(f"not known: {', '.join(whats)}: {why}")


def _by_reason(problems: Iterable[str]) -> dict[str, list[str]]:
    """What cannot be had, by why: without credentials it is all the same."""
    whats: dict[str, list[str]] = {}
    for problem in problems:
        what, _, why = problem.partition(": ")
        whats.setdefault(why, []).append(what)
    return whats


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if value >= 0.001 else f"{value:.6f}"


def _iso(time: float | None) -> str | None:
    if time is None:
        return None
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
