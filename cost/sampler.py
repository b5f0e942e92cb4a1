"""Keeps the ledger's prices up to date while a sweep runs: asks every few minutes, writes down what is new.

Always holds: `tick` never raises for anything that AWS, the network or permissions do. While nobody can be
asked, the last known price holds and a stale row says so; a spot price that was never known is billed as the
on-demand price, its upper bound, until it is. Raw samples keep EC2's own time of the change.
Use: `watch` each rented node that comes up, then `tick(now)` with every heartbeat. It takes as long as the
network and the sources' `Retry` let it: in a thread of its own where some seconds would hurt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cost import ledger
from cost.ledger import Price, Row
from cost.prices import ON_DEMAND
from cost.rules import SPOT
from cost.sources import PriceSource, PriceUnavailableError, Quote

INTERVAL_SECONDS = 300.0
LIST_PRICE_SECONDS = 24 * 3600.0  # list prices change a few times a year


@dataclass
class _Market:
    """What is known of one instance type's price in one zone, spot or on demand."""

    instance_type: str
    zone: str
    lifecycle: str
    asked_until: float
    last: Price | None = None
    stale: bool = False
    seen: set[tuple[float, float]] = field(default_factory=set)  # time, dollars per hour

    @property
    def name(self) -> str:
        return f"{self.lifecycle} {self.instance_type} in {self.zone}"

    def take(self, sample: Price) -> None:
        self.last, self.stale = sample, sample.stale
        self.seen.add((sample.time, sample.usd_per_hour))


class PriceSampler:
    """Appends price rows for the markets it is told to watch.

    Args:
        spot, on_demand: where prices come from.
        append: writes one row into the ledger.
        known: the ledger's rows so far, so that a resumed sweep repeats nothing.
        interval_seconds: between two samples.
    """

    def __init__(
        self,
        spot: PriceSource,
        on_demand: PriceSource,
        append: Callable[[Row], None],
        known: Iterable[Mapping[str, Any]] = (),
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        self._sources = {ON_DEMAND: on_demand, SPOT: spot}
        self._append, self._interval = append, interval_seconds
        self._markets: dict[tuple[str, str, str], _Market] = {}
        self._known = [event for event in ledger.parse(known) if isinstance(event, Price)]
        self._next = float("-inf")

    def watch(self, instance_type: str, zone: str, lifecycle: str, since: float) -> None:
        """Follow the price of a rented node's type in its zone from `since` (Unix seconds) on, at the next tick.

        The on-demand price is followed for spot nodes too, to say what they saved.
        """
        for kind in {ON_DEMAND, lifecycle} & self._sources.keys():
            key = (instance_type, zone, kind)
            if key not in self._markets:
                self._markets[key] = self._recalled(_Market(*key, asked_until=since))
                self._next = float("-inf")

    def tick(self, now: float) -> list[str]:
        """Take the samples that are due at `now` (Unix seconds). Returns what is worth telling a person."""
        if now < self._next:
            return []
        self._next = now + self._interval
        news: list[str] = []
        for lifecycle in self._sources:  # on demand first: it stands in for a spot price that nobody knows
            types = {market.instance_type for market in self._of(lifecycle) if self._due(market, now)}
            for instance_type in sorted(types):
                news += self._sample(lifecycle, instance_type, now)
        return news

    def _of(self, lifecycle: str) -> list[_Market]:
        return [market for market in self._markets.values() if market.lifecycle == lifecycle]

    def _due(self, market: _Market, now: float) -> bool:
        settled = market.lifecycle == ON_DEMAND and market.last is not None and not market.stale
        return not settled or now >= market.asked_until + LIST_PRICE_SECONDS

    def _sample(self, lifecycle: str, instance_type: str, now: float) -> list[str]:
        """Ask for one type and write down what is new for each of its markets."""
        markets = [market for market in self._of(lifecycle) if market.instance_type == instance_type]
        since = min(min(market.asked_until for market in markets), now)
        try:
            quotes = self._sources[lifecycle].quotes(instance_type, since, now)
            problem = f"EC2 knows no price of {instance_type} there"
        except PriceUnavailableError as error:
            quotes, problem = [], str(error)
        news = []
        for market in markets:
            here = [quote for quote in quotes if quote.zone in (None, market.zone)]
            if any(not quote.stale for quote in here):
                news += self._heard(market, here, now)
            else:
                news += self._missed(market, here, problem, now)
        return news

    def _heard(self, market: _Market, quotes: list[Quote], now: float) -> list[str]:
        was_stale, market.asked_until = market.stale, now
        for quote in quotes:
            # The same sample again ends a stale time.
            again = was_stale and quote is quotes[-1]
            if again or (quote.time, quote.usd_per_hour) not in market.seen:
                self._write(market, now, quote.time, quote.usd_per_hour, quote.source)
        return [f"{market.name}: the price is known again"] if was_stale else []

    def _missed(self, market: _Market, stand_ins: list[Quote], problem: str, now: float) -> list[str]:
        """Say once that the price is stale, or unknown, and what holds instead."""
        if market.stale and market.last:
            return []
        told, market.stale = market.stale, True
        if market.last:
            usd, source = market.last.usd_per_hour, f"last known price ({problem})"
        elif stand_ins:
            usd, source = stand_ins[-1].usd_per_hour, stand_ins[-1].source
        elif bound := self._upper_bound(market):
            usd, source = bound.usd_per_hour, f"on-demand price as an upper bound ({bound.source}; {problem})"
        else:
            return [] if told else [f"{market.name}: no price is known ({problem})"]
        self._write(market, now, now, usd, source, stale=True)
        return [f"{market.name}: ${usd:.4f} an hour is stale: {source}"]

    def _upper_bound(self, market: _Market) -> Price | None:
        """Unless told otherwise, EC2 never asks more for a spot instance than for one on demand."""
        key = (market.instance_type, market.zone, ON_DEMAND)
        return self._markets[key].last if market.lifecycle == SPOT else None

    def _write(self, market: _Market, now: float, time: float, usd: float, source: str, stale: bool = False) -> None:
        sample = Price(
            time=time,
            usd_per_hour=usd,
            instance_type=market.instance_type,
            zone=market.zone,
            lifecycle=market.lifecycle,
            observed_at=now,
            source=source,
            stale=stale,
        )
        market.take(sample)
        self._append(ledger.row_of(sample))

    def _recalled(self, market: _Market) -> _Market:
        """A market as the ledger's earlier rows leave it."""
        key = (market.instance_type, market.zone, market.lifecycle)
        for sample in sorted(self._known, key=lambda sample: (sample.heard_at, sample.time)):
            if sample.node is None and (sample.instance_type, sample.zone, sample.lifecycle) == key:
                market.take(sample)
                market.asked_until = market.asked_until if sample.stale else sample.heard_at
        return market
