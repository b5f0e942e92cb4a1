"""What one trial cost, without the bill of all others.

Always holds: the same charges as in the bill of the whole sweep, rounded by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cost.amounts import Amount
from cost.bill import make_bill
from cost.ledger import parse
from cost.rates import TrialName
from cost.rounding import dollars


def usd_of_trial(
    rows: Iterable[Mapping[str, Any]], name: TrialName, fixed_usd_per_hour: float | None
) -> float | None:
    """Dollars of a trial's seconds whose price is known; None where that is none of them, or it had no node.

    Args:
        rows: of the ledger; those of its nodes, their prices and whoever shared them with it are enough.
    Errors: CostError for a row that cannot be right.
    """
    charges = make_bill(parse(rows), fixed_usd_per_hour).charges
    own = [charge.amount for charge in charges if charge.trial and (charge.trial.stage, charge.trial.trial) == name]
    amount = sum(own, Amount())
    unknown = not own or (amount.unpriced_seconds and not amount.priced_seconds)
    return None if unknown else dollars(amount.usd)
