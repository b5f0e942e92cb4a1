"""What the rest of a sweep will cost, from what its tokens have cost so far.

Always holds: the printed total is the bill so far plus the printed lines; where no trial has a known rate yet,
the amounts are null.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from cost.amounts import exact_sum
from cost.bill import Bill
from cost.rates import Rates, TrialName
from cost.rounding import CENTS, apportion, cents, sum_usd

METHOD = (
    "remaining tokens at the dollars per token of the same trial so far, else of its variant, else of all trials; "
    "times total over trials, so that idle and head go on in proportion; boot is spent once, and a first hour that "
    "was free counts at its price, as the next one need not be free"
)


def projection_of(
    bill: Bill,
    rates: Rates,
    remaining: Mapping[TrialName, int],
    variants: Mapping[TrialName, str],
) -> dict[str, Any]:
    """The cost of the tokens that remain, by (stage, trial), trials not yet begun included, and the total then.

    Args:
        rates: of the same bill without free first hours, for what is to come.
        variants: that the remaining trials train, as far as that is decided.
    """
    exact: dict[TrialName, Fraction] = {}  # cents
    for name, count in remaining.items():
        rate = rates.to_come(name, variants.get(name))
        if rate is not None:
            exact[name] = rate * count * CENTS
    # Each rounded by itself, many small ones would come to nothing, or to twice as much.
    shares = apportion(exact, round(exact_sum(exact.values())))
    lines = [
        {
            "stage": name[0],
            "trial": name[1],
            "variant": variants.get(name),
            "tokens": count,
            "usd": shares[name] / CENTS if name in shares else None,
        }
        for name, count in remaining.items()
    ]
    to_come = sum_usd(lines)
    return {
        "remaining_tokens": sum(remaining.values()),
        "remaining_usd": to_come,
        "total_usd": None if to_come is None else (cents(bill.total.usd) + cents(to_come)) / CENTS,
        "by_trial": lines,
        "method": METHOD,
    }
