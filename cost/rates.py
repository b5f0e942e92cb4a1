"""Dollars per token, of one trial, of a variant, or of a whole sweep.

Always holds: a rate is None, never zero, where a price or every count of tokens is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from cost.amounts import Amount, total_by
from cost.bill import BOOT, Bill

TrialName = tuple[str, str]  # (stage, trial)


@dataclass(frozen=True)
class _Rate:
    """What some trials cost, and how many tokens they trained for it."""

    amount: Amount
    tokens: int

    def __add__(self, other: _Rate) -> _Rate:
        return _Rate(self.amount + other.amount, self.tokens + other.tokens)

    @property
    def usd_per_token(self) -> Fraction | None:
        return self.amount.usd / self.tokens if self.tokens and not self.amount.unpriced_seconds else None


_NOTHING = _Rate(Amount(), 0)


class Rates:
    """Dollars per token of trials, variants and the sweep, from those trials whose tokens are known."""

    def __init__(self, bill: Bill, tokens: Mapping[TrialName, int]) -> None:
        spent = total_by((charge.trial, charge.amount) for charge in bill.charges)
        self._known = {
            trial: _Rate(spent.get(trial, Amount()), tokens[trial.stage, trial.trial])
            for trial in bill.trials
            if tokens.get((trial.stage, trial.trial))  # what trains none (a check) says nothing of the rate
        }
        self._by_name: dict[TrialName, _Rate] = {}
        self._by_variant: dict[str, _Rate] = {}
        for trial, rate in self._known.items():
            name = (trial.stage, trial.trial)
            self._by_name[name] = self._by_name.get(name, _NOTHING) + rate
            self._by_variant[trial.variant] = self._by_variant.get(trial.variant, _NOTHING) + rate
        self._mean = sum(self._known.values(), _NOTHING).usd_per_token
        self.total = sum(spent.values(), Amount())
        started = total_by((charge.use == BOOT, charge.amount) for charge in bill.charges)
        of_trials = sum((amount.usd for trial, amount in spent.items() if trial), Fraction(0))
        running = self.total.usd - started.get(True, Amount()).usd
        self._all_in = running / of_trials if of_trials else Fraction(1)

    def of_trial(self, name: TrialName) -> Fraction | None:
        return self._by_name.get(name, _NOTHING).usd_per_token

    def to_come(self, name: TrialName, variant: str | None) -> Fraction | None:
        """Dollars per token, idle and head included, boot not, that this trial, perhaps not yet begun, will have.

        `variant`: that it trains, None where that is not decided yet.
        """
        of_variant = self._by_variant.get(variant, _NOTHING) if variant else _NOTHING
        rates = (self.of_trial(name), of_variant.usd_per_token, self._mean)
        rate = next((rate for rate in rates if rate is not None), None)
        return None if rate is None or self.total.unpriced_seconds else rate * self._all_in
