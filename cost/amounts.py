"""Node-seconds and what they cost, as exact fractions.

Always holds: no amount is rounded here. A decimal would round at each division by 3,600, and then the sum
would depend on how time is cut; rounding to cents happens once, in `cost.rounding`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

MICROSECONDS = 1_000_000
HOUR = 3600 * MICROSECONDS
_NOTHING = Fraction(0)

Key = TypeVar("Key", bound=Hashable)


def microseconds(seconds: float) -> int:
    return round(seconds * MICROSECONDS)


@dataclass(frozen=True)
class Amount:
    """Node-seconds (half a node for 60 s is 30) with a known price and without, and what the former cost."""

    usd: Fraction = Fraction(0)
    priced_seconds: Fraction = Fraction(0)
    unpriced_seconds: Fraction = Fraction(0)

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            exact_sum((self.usd, other.usd)),
            exact_sum((self.priced_seconds, other.priced_seconds)),
            exact_sum((self.unpriced_seconds, other.unpriced_seconds)),
        )

    def __mul__(self, share: Fraction) -> Amount:
        return Amount(self.usd * share, self.priced_seconds * share, self.unpriced_seconds * share)

    @property
    def seconds(self) -> Fraction:
        return self.priced_seconds + self.unpriced_seconds


def exact_sum(parts: Iterable[Fraction]) -> Fraction:
    """Their sum; most of what is added up here is nothing, and adding that takes as long as any other fraction."""
    total = _NOTHING
    for part in parts:
        if part:
            total = total + part if total else part
    return total


def amount_of(length: int, share: Fraction, usd_per_hour: Fraction | None) -> Amount:
    """What a share of a node costs for `length` microseconds; a price of None is unknown, not zero."""
    seconds = Fraction(length, MICROSECONDS) * share
    if usd_per_hour is None:
        return Amount(unpriced_seconds=seconds)
    return Amount(usd=seconds * usd_per_hour / 3600, priced_seconds=seconds)


def total_by(parts: Iterable[tuple[Key, Amount]]) -> dict[Key, Amount]:
    """The sum of the amounts of each key, keys in order of first appearance."""
    totals: dict[Key, Amount] = {}
    for key, amount in parts:
        totals[key] = totals.get(key, Amount()) + amount
    return totals
