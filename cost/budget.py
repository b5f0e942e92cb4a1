"""Whether a sweep may go on spending, and what it will cost before it has begun.

Always holds: pure functions of a few numbers; a decision says in words what it rests on; an estimate is a range,
never one number.
"""

from __future__ import annotations

from dataclasses import dataclass

from cost.errors import CostError

WARN_AT = 0.8  # of the budget
_MICRO = 1_000_000  # amounts are compared in millionths of a dollar, in which 0.1 + 0.2 is 0.3
Range = tuple[float, float]  # low, high


@dataclass(frozen=True)
class Decision:
    """What the budget allows, and why."""

    text: str


class Go(Decision):
    """Carry on."""


class Warn(Decision):
    """Carry on, but tell somebody."""


class HoldNewTrials(Decision):
    """Let what is running run, start nothing new but what the reserve is for."""


class Stop(Decision):
    """Save checkpoints, stop, say why; a higher budget carries on."""


def decide(spent: float | None, committed: float, reserve: float, budget: float | None) -> Decision:
    """What the budget allows now; all in dollars.

    Args:
        spent: the bill so far; None where no price is known.
        committed: what running trials, and the one that would start next, still need to their ends.
        reserve: what later stages will need, the finalists among them; 0 once it is they who are starting.
        budget: None for no limit.
    """
    if budget is None:
        return Go("no budget is set")
    if spent is None:
        return Warn(f"no price is known, so nothing guards the budget of {_usd(budget)}")
    of_budget = f"{_usd(spent)} of the {_usd(budget)} budget"
    if _micro(spent) >= _micro(budget):
        return Stop(f"{of_budget} spent")
    if _micro(spent + committed + reserve) > _micro(budget):
        parts = (
            f"{_usd(committed)} to finish what runs or would start next, {_usd(reserve)} reserved for later stages"
        )
        return HoldNewTrials(f"{of_budget} spent; with {parts}, it would be passed")
    if _micro(spent) >= _micro(WARN_AT * budget):
        return Warn(f"{of_budget} spent ({spent / budget:.0%})")
    return Go(f"{of_budget} spent")


@dataclass(frozen=True)
class Estimate:
    """What some tokens will cost, from fast and cheap to slow and dear: dollars, node-hours and hours of waiting."""

    usd: Range
    node_hours: Range
    hours: Range

    @property
    def text(self) -> str:
        low, high = self.usd
        return f"{_usd(low)} to {_usd(high)}, {self.node_hours[0]:.1f} to {self.node_hours[1]:.1f} node-hours"


def estimate(
    tokens: int,
    tokens_per_second: Range,
    usd_per_hour: Range,
    *,
    nodes: int = 1,
    head_usd_per_hour: Range = (0.0, 0.0),
    boot_seconds: float = 0.0,
) -> Estimate:
    """The cost of training `tokens` in all, before anything is known but speeds and prices.

    Args:
        tokens_per_second: of one node with all its trials, the slowest and the fastest it may be.
        usd_per_hour: of one node, least and most.
        nodes: that share the work evenly.
        head_usd_per_hour: of a head node that only serves, for as long as the others work.
        boot_seconds: from the launch of a node to its first trial.
    Errors: CostError for a range that is none, or a speed or number of nodes that is not positive.
    """
    for name, (low, high) in (("usd_per_hour", usd_per_hour), ("head_usd_per_hour", head_usd_per_hour)):
        if not 0 <= low <= high:
            raise CostError(name, f"{low} to {high}", "a range from least to most, not below zero")
    slow, fast = tokens_per_second
    if not 0 < slow <= fast:
        raise CostError("tokens_per_second", f"{slow} to {fast}", "a range from slowest to fastest, above zero")
    if nodes < 1:
        raise CostError("nodes", str(nodes), "at least one")
    boot_hours = nodes * boot_seconds / 3600
    node_hours = tuple(tokens / speed / 3600 + boot_hours for speed in (fast, slow))
    hours = tuple(one / nodes for one in node_hours)
    usd = tuple(
        one * price + wait * head
        for one, price, wait, head in zip(node_hours, usd_per_hour, hours, head_usd_per_hour, strict=True)
    )
    return Estimate((usd[0], usd[1]), (node_hours[0], node_hours[1]), (hours[0], hours[1]))


def _micro(usd: float) -> int:
    return round(usd * _MICRO)


def _usd(amount: float) -> str:
    return f"${amount:,.2f}"
