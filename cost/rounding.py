"""From exact amounts to whole cents and milliseconds that still add up, along every cut of the bill.

Always holds: the total is rounded first, then split over trials, boot, idle and head (and, apart from that,
over the nodes), then each trial's share over its uses; so stages, variants and uses are plain sums of what
is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

from cost.amounts import Amount, exact_sum, total_by
from cost.bill import USES, Bill, TrialId

CENTS, MILLISECONDS = 100, 1000
Line = tuple[TrialId | None, str]  # what a trial spent on one use; without a trial: boot, idle or head
Key = TypeVar("Key")

_MEASURES: tuple[Callable[[Amount], Fraction], ...] = (
    lambda amount: amount.usd * CENTS,
    lambda amount: amount.priced_seconds * MILLISECONDS,
    lambda amount: amount.unpriced_seconds * MILLISECONDS,
)


@dataclass(frozen=True)
class Units:
    """An amount as it is printed."""

    cents: int = 0
    priced_ms: int = 0
    unpriced_ms: int = 0

    def __add__(self, other: Units) -> Units:
        return Units(self.cents + other.cents, self.priced_ms + other.priced_ms, self.unpriced_ms + other.unpriced_ms)

    def json(self) -> dict[str, Any]:
        """`usd` is null where no second has a known price; otherwise the dollars of those that have."""
        unknown = self.unpriced_ms > 0 and self.priced_ms == 0 and self.cents == 0
        return {
            "usd": None if unknown else self.cents / CENTS,
            "node_seconds": (self.priced_ms + self.unpriced_ms) / MILLISECONDS,
            "unpriced_node_seconds": self.unpriced_ms / MILLISECONDS,
        }


def round_bill(bill: Bill) -> tuple[dict[Line, Units], dict[str, Units]]:
    """Every line and every node in whole units; both sum to the same total."""
    by_line = bill.by_trial_and_use
    ranks = {trial: rank for rank, trial in enumerate([*bill.trials, None])}
    lines = {line: by_line[line] for line in sorted(by_line, key=lambda x: (ranks[x[0]], USES.index(x[1])))}
    by_node = total_by((charge.node, charge.amount) for charge in bill.charges)
    nodes = {node: by_node[node] for node in bill.nodes}
    rounded = [_round_measure(lines, nodes, measure) for measure in _MEASURES]
    return (
        {line: Units(*(of_lines[line] for of_lines, _ in rounded)) for line in lines},
        {node: Units(*(of_nodes[node] for _, of_nodes in rounded)) for node in nodes},
    )


def apportion(exact: Mapping[Key, Fraction], total: int) -> dict[Key, int]:
    """Whole numbers beside the exact ones that sum to `total`, the exact sum rounded either way.

    Hamilton's method: each is rounded down, then those with the largest remainders up; equal remainders go by
    the order of `exact`.
    """
    if len(exact) == 1:
        return dict.fromkeys(exact, total)
    parts = {key: int(value // 1) for key, value in exact.items()}
    missing = total - sum(parts.values())
    assert 0 <= missing <= len(parts), f"{total} is not the sum of these {len(parts)} parts"
    for key in sorted(parts, key=lambda key: parts[key] - exact[key])[:missing]:
        parts[key] += 1
    return parts


def cents(usd: Fraction | float | None) -> int:
    """Whole cents; those of null are none."""
    return round((usd or 0) * CENTS)


def dollars(usd: Fraction | None) -> float | None:
    """An exact amount in dollars and whole cents, as a JSON number."""
    return None if usd is None else cents(usd) / CENTS


def seconds(exact: Fraction) -> float:
    """Seconds to the millisecond, as a JSON number."""
    return round(exact * MILLISECONDS) / MILLISECONDS


def sum_usd(lines: Iterable[Mapping[str, Any]], *, at_least: bool = False) -> float | None:
    """The sum of what some lines print; null where one is unknown or, for `at_least`, where all are."""
    amounts = [line["usd"] for line in lines]
    known = [usd for usd in amounts if usd is not None]
    enough = known or not amounts if at_least else len(known) == len(amounts)
    return sum(map(cents, known)) / CENTS if enough else None


def _round_measure(
    lines: Mapping[Line, Amount], nodes: Mapping[str, Amount], measure: Callable[[Amount], Fraction]
) -> tuple[dict[Line, int], dict[str, int]]:
    holders: dict[TrialId | str, dict[Line, Fraction]] = {}
    for line, amount in lines.items():
        holders.setdefault(line[0] or line[1], {})[line] = measure(amount)
    sums = {holder: exact_sum(parts.values()) for holder, parts in holders.items()}
    total = round(exact_sum(sums.values()))
    if not total:
        return dict.fromkeys(lines, 0), dict.fromkeys(nodes, 0)
    shares = apportion(sums, total)
    rounded: dict[Line, int] = {}
    for holder, parts in holders.items():
        rounded |= apportion(parts, shares[holder])
    return rounded, apportion({node: measure(amount) for node, amount in nodes.items()}, total)
