"""What was not spent: savings, each on its own line.

Always holds: no line counts a dollar of another. Spot is compared with on-demand for the same node-seconds at
the prices in force, first hours that AWS waived apart; a killed trial saves the tokens it never trained, at
its own dollars per token. What cannot be known (a price, a count) leaves null, not zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Any

from cost.amounts import Amount, amount_of
from cost.bill import Bill, PricedStay
from cost.rates import Rates, TrialName
from cost.rounding import CENTS, cents, dollars, seconds, sum_usd
from cost.rules import SPOT

Json = dict[str, Any]

KILL_METHOD = "tokens not trained, up to the trial's budget, at the dollars per token the trial had cost until then"


def savings_of(
    bill: Bill, rates: Rates, tokens: Mapping[TrialName, int], budget_tokens: Mapping[TrialName, int]
) -> Json:
    """The savings of a bill with its rates; tokens trained and planned by (stage, trial), where they are known."""
    return {
        "spot_against_on_demand": _spot(bill.stays),
        "first_hour_free": _first_hours(bill.stays),
        "kill_rule_against_running_on": _kills(bill, rates, tokens, budget_tokens),
    }


def _spot(stays: Iterable[PricedStay]) -> Json:
    """Over the seconds in which both prices are known; `unpriced_node_seconds` are the others."""
    spot, on_demand, unknown = Amount(), Amount(), Amount()
    for priced in stays:
        if priced.stay.spec.lifecycle != SPOT:
            continue
        first, last = priced.stay.start, priced.stay.end
        inside = {*priced.curve.changes(first, last), *priced.on_demand.changes(first, last)}
        for start, end in pairwise([first, *sorted(inside), last]):
            market, list_price = priced.curve.at(start), priced.on_demand.at(start)
            if market is None or list_price is None:
                unknown += amount_of(end - start, Fraction(1), None)
            else:
                spot += amount_of(end - start, Fraction(1), market)
                on_demand += amount_of(end - start, Fraction(1), list_price)
    known = spot.seconds > 0 or not unknown.seconds
    return {
        "usd": (cents(on_demand.usd) - cents(spot.usd)) / CENTS if known else None,
        "on_demand_usd": dollars(on_demand.usd if known else None),
        "spot_usd": dollars(spot.usd if known else None),
        "node_seconds": seconds(spot.seconds),
        "unpriced_node_seconds": seconds(unknown.seconds),
    }


def _first_hours(stays: Iterable[PricedStay]) -> Json:
    """What AWS waived because it took instances back in their first hour."""
    waived = sum((one.curve.cost(one.stay.start, one.stay.end) for one in stays if one.free), Amount())
    known = waived.priced_seconds > 0 or not waived.seconds
    return {
        "usd": dollars(waived.usd if known else None),
        "node_seconds": seconds(waived.priced_seconds),
        "unpriced_node_seconds": seconds(waived.unpriced_seconds),
    }


def _kills(bill: Bill, rates: Rates, tokens: Mapping[TrialName, int], budget_tokens: Mapping[TrialName, int]) -> Json:
    """By killed trial; the sum is of those whose counts and prices are known."""
    lines: list[Json] = []
    for trial, status in bill.trials.items():
        name = (trial.stage, trial.trial)
        if status == "killed":
            rate, trained, planned = rates.of_trial(name), tokens.get(name), budget_tokens.get(name)
            spared = None if trained is None or planned is None else max(0, planned - trained)
            usd = dollars(None if rate is None or spared is None else rate * spared)
            lines.append({"stage": trial.stage, "trial": trial.trial, "tokens_not_trained": spared, "usd": usd})
    return {"usd": sum_usd(lines, at_least=True), "by_trial": lines, "method": KILL_METHOD}
