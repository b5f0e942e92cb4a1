"""The forecast of a sweep in a few lines for a person, below the plan.

Always holds: a line says what its numbers rest on, and what they leave out.
"""

from __future__ import annotations

from rich.console import Console

from cost.budget import Estimate, Range
from paramalloc.config import CostConfig
from paramalloc.forecast import BOOT_SECONDS, FIXED_PRICE, Forecast
from paramalloc.formats import significant
from paramalloc.rental import Rental, on_cluster

ON_TOP = "what idles or is done twice comes on top"


def print_forecast(found: Forecast, cost: CostConfig, console: Console) -> None:
    """A few lines for a person, below the plan."""
    if found.estimate is None:
        advice = "state cost.tokens_per_second (of one machine with all its trials) to have time and cost estimated"
        _print(console, f"estimate: unknown, {found.said_by}; {advice}")
    else:
        fast, slow = found.estimate.hours
        _print(console, f"estimate: {_span(fast, slow)} of training on one machine, {found.said_by}")
        _print(console, f"cost: {_cost(found, found.estimate, cost)}")
    if found.rented and not found.rented.here and not cost.fixed_usd_per_hour:
        _print(console, f"rented ({found.rented.machine.file}): {_elsewhere(found.rented, found.rented_usd)}")
    if found.estimate and found.estimate.usd[1] > cost.budget_usd:
        _print(console, "warning: that may be more than cost.budget_usd, where the sweep would stop")


def _cost(found: Forecast, known: Estimate, cost: CostConfig) -> str:
    budget = f"of a budget of ${cost.budget_usd:,.2f}"
    if found.rented and found.rented.here:
        return f"{_dollars(known.usd)} on {_hourly(found.rented)}, {budget}; {_included(found.rented)}"
    if not cost.fixed_usd_per_hour:
        return f"nothing on this machine ({FIXED_PRICE} is 0)"
    head = "; head, boot and idling come on top" if on_cluster() else ""
    return f"{_dollars(known.usd)} at ${cost.fixed_usd_per_hour:g} an hour ({FIXED_PRICE}), {budget}{head}"


def _elsewhere(rented: Rental, usd: Range | None) -> str:
    """What the sweep would cost on machines of a cluster; a speed that was measured here says nothing of them."""
    if usd is None:
        return f"{_hourly(rented)}; state its cost.tokens_per_second to see what the sweep would cost there"
    return f"{_dollars(usd)} at the stated speed, on {_hourly(rented)}; {_included(rented)}"


def _included(rented: Rental) -> str:
    """What the dollars hold beside training, and what not."""
    many = rented.machine.at_most
    machines = f"1 to {many} machines" if many > 1 else "one machine"
    boot = f"{BOOT_SECONDS / 60:g} minutes of boot each (assumed) for {machines}"
    if rented.head is None:
        return f"with {boot}; the head, whose price is not known, and {ON_TOP}"
    head = f"a head, {rented.machine.head_type} at ${rented.head.usd_per_hour[0]:.4g} an hour ({rented.head.said_by})"
    return f"with {head}, and {boot}; {ON_TOP}"


def _hourly(rented: Rental) -> str:
    low, high = rented.price.usd_per_hour
    price = f"${low:.4g}" if low == high else f"${low:.4g} to ${high:.4g}"
    return f"{rented.machine.instance_type} spot at {price} an hour ({rented.price.said_by})"


def _dollars(usd: Range) -> str:
    return f"${usd[0]:,.2f} to ${usd[1]:,.2f}"


def _span(low_hours: float, high_hours: float) -> str:
    unit, scale = ("hours", 1) if high_hours >= 2 else ("minutes", 60)
    return f"about {significant(low_hours * scale, 2)} to {significant(high_hours * scale, 2)} {unit}"


def _print(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
