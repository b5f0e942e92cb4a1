"""What an instance costs an hour just now, spot or on demand, for somebody who waits for the answer.

Always holds: it neither raises nor takes longer than its patience, whatever the network does; an answer says who
gave it and how old it is. Where EC2 cannot be asked the last known spot price holds, and where there is none the
on-demand price of the dated table, which a spot price does not pass.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cost.budget import Range
from cost.instances import price_table
from cost.ledger import Price, parse
from cost.rules import SPOT
from cost.sources import OnDemandPrices, PriceUnavailableError, Quote, Retry, SpotHistory

PATIENCE_SECONDS = 8.0
Connect = Callable[[str | None], tuple[Any, Any, str]]


@dataclass(frozen=True)
class HourlyPrice:
    """Dollars per hour, least and most over the zones, and who says so."""

    usd_per_hour: Range
    said_by: str


def spot_price_now(
    instance_type: str,
    region: str,
    zones: Collection[str],
    now: float,
    known: Iterable[Mapping[str, Any]] = (),
    connect: Connect | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> HourlyPrice | None:
    """The price of an instance type in these zones of a region, None where nobody knows any.

    Args:
        now: Unix seconds.
        known: rows of a ledger, for the last known price.
        connect: gives the EC2 client, as `sources.connect`; None to ask nobody.
    """
    why = "`python -m cost prices` asks EC2"
    if connect is not None:
        answer = _in_time(lambda: _ask(connect, instance_type, region, now), patience_seconds)
        here = [quote for quote in answer if not zones or quote.zone in zones] if isinstance(answer, list) else []
        if here:
            prices = {quote.zone: quote.usd_per_hour for quote in here}  # the last of each zone
            where = f"{len(prices)} zone{'s' if len(prices) > 1 else ''} of {region}"
            return HourlyPrice((min(prices.values()), max(prices.values())), f"EC2's spot price now in {where}")
        why = f"EC2: {answer}" if isinstance(answer, str) else f"EC2 knows no price of {instance_type} in these zones"
    return _last_known(instance_type, region, known, why) or _listed(instance_type, region, why)


def on_demand_price_now(
    instance_type: str,
    region: str,
    connect: Connect | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> HourlyPrice | None:
    """The on-demand price of an instance type: AWS's price list, else the dated table; None where neither knows it.

    Args:
        connect: gives the pricing client, as `sources.connect`; None to ask nobody.
    """
    if connect is not None:
        answer = _in_time(lambda: _ask_price_list(connect, instance_type, region), patience_seconds)
        if isinstance(answer, list):
            (quote,) = answer
            return HourlyPrice((quote.usd_per_hour,) * 2, quote.source)
    table = price_table()
    usd = table.usd_per_hour.get(instance_type) if table.region == region else None
    return None if usd is None else HourlyPrice((usd, usd), f"on-demand price of {table.as_of}")


def _ask_price_list(connect: Connect, instance_type: str, region: str) -> list[Quote] | str:
    """One quote, or why there is none."""
    try:
        _, pricing, _ = connect(region)
        return OnDemandPrices(pricing, region, Retry(attempts=1)).quotes(instance_type, 0.0, 0.0)
    except PriceUnavailableError as error:
        return str(error)


def _ask(connect: Connect, instance_type: str, region: str, now: float) -> list[Quote] | str:
    """Quotes, or why there are none."""
    try:
        ec2, _, _ = connect(region)
        return SpotHistory(ec2, Retry(attempts=1)).quotes(instance_type, now, now)
    except PriceUnavailableError as error:
        return str(error)


def _in_time(ask: Callable[[], list[Quote] | str], patience_seconds: float) -> list[Quote] | str:
    """What `ask` returns; a thread that is still waiting then is left to itself, and ends with the process."""
    answers: queue.SimpleQueue[list[Quote] | str] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(ask()), name="price", daemon=True).start()
    try:
        return answers.get(timeout=patience_seconds)
    except queue.Empty:
        return f"no answer within {patience_seconds:g} s"


def _last_known(instance_type: str, region: str, known: Iterable[Mapping[str, Any]], why: str) -> HourlyPrice | None:
    samples = [
        event
        for event in parse(known)
        if isinstance(event, Price)
        and (event.instance_type, event.lifecycle, event.stale) == (instance_type, SPOT, False)
        and (event.zone or "").startswith(region)
    ]
    if not samples:
        return None
    last = max(samples, key=lambda sample: sample.heard_at)
    when = datetime.fromtimestamp(last.heard_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return HourlyPrice((last.usd_per_hour,) * 2, f"last known, of {when} in {last.zone}; {why}")


def _listed(instance_type: str, region: str, why: str) -> HourlyPrice | None:
    listed = on_demand_price_now(instance_type, region)
    return HourlyPrice(listed.usd_per_hour, f"at most: {listed.said_by}; {why}") if listed else None
