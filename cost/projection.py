"""What the rest of a sweep will cost, from what its tokens have cost so far.

Always holds: the printed total is the bill so far plus the printed lines; where no trial has a known rate yet,
the amounts are null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cost.bill import Bill
from cost.rates import Rates, TrialName
from cost.rounding import CENTS, cents, dollars, sum_usd

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
    lines = []
    for (stage, trial), count in remaining.items():
        variant = variants.get((stage, trial))
        rate = rates.to_come((stage, trial), variant)
        usd = dollars(None if rate is None else rate * count)
        lines.append({"stage": stage, "trial": trial, "variant": variant, "tokens": count, "usd": usd})
    to_come = sum_usd(lines)
    return {
        "remaining_tokens": sum(remaining.values()),
        "remaining_usd": to_come,
        "total_usd": None if to_come is None else (cents(bill.total.usd) + cents(to_come)) / CENTS,
        "by_trial": lines,
        "method": METHOD,
    }
