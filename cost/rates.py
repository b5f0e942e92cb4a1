"""Dollars per token, of one trial, of a variant, or of a whole sweep.

Always holds: a rate is None, never zero, where a price or every count of tokens is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from cost.amounts import Amount
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
        self._by_name: dict[TrialName, _Rate] = {}
        self._by_variant: dict[str, _Rate] = {}
        for trial in bill.trials:
            name = (trial.stage, trial.trial)
            if count := tokens.get(name):  # what trains none (a check) says nothing of the rate
                rate = _Rate(bill.by_trial.get(trial, Amount()), count)
                self._by_name[name] = self._by_name.get(name, _NOTHING) + rate
                self._by_variant[trial.variant] = self._by_variant.get(trial.variant, _NOTHING) + rate
        self._mean = sum(self._by_variant.values(), _NOTHING).usd_per_token
        self._unpriced_seconds = bill.total.unpriced_seconds
        outside = sum((amount.usd for (trial, _), amount in bill.by_trial_and_use.items() if not trial), Fraction(0))
        started = bill.by_trial_and_use.get((None, BOOT), Amount()).usd
        of_trials = bill.total.usd - outside
        self._all_in = (bill.total.usd - started) / of_trials if of_trials else Fraction(1)

    def of_trial(self, name: TrialName) -> Fraction | None:
        return self._by_name.get(name, _NOTHING).usd_per_token

    def to_come(self, name: TrialName, variant: str | None) -> Fraction | None:
        """Dollars per token, idle and head included, boot not, that this trial, perhaps not yet begun, will have.

        `variant`: that it trains, None where that is not decided yet.
        """
        of_variant = self._by_variant.get(variant, _NOTHING) if variant else _NOTHING
        rates = (self.of_trial(name), of_variant.usd_per_token, self._mean)
        rate = next((rate for rate in rates if rate is not None), None)
        return None if rate is None or self._unpriced_seconds else rate * self._all_in
