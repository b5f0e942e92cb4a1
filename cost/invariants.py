"""What the printed numbers of a summary must agree on; checked each time one is made.

Always holds: sum over uses = sum over nodes = trials + boot + idle + head = total, in cents and milliseconds;
stages and variants equal their trials, each trial and each use the cells of trial by use; savings and
projection are sums of their own parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cost.bill import OTHER_USES, TRIAL_USES
from cost.rounding import CENTS, MILLISECONDS, cents

Json = dict[str, Any]


class UnbalancedBillError(AssertionError):
    """A bug in this package: the sums of a summary contradict each other."""


def check(summary: Json) -> None:
    """Errors: UnbalancedBillError where two sums of a COST_SUMMARY.json differ, or an amount is negative."""
    trials = summary["by_trial"]
    rest = [summary["by_use"][use] for use in OTHER_USES]
    total = _printed([summary | {"usd": summary["total_usd"]}])
    _same("the nodes", _printed(summary["by_node"]), total)
    _same("the uses", _printed(summary["by_use"].values()), total)
    _same("trials, boot, idle and head", _printed([*trials, *rest]), total)
    for field in ("stage", "variant"):
        cut = summary[f"by_{field}"]
        _same(f"the lines by {field}, boot, idle and head", _printed([*cut, *rest]), total)
        own: dict[str, list[Json]] = {}
        for trial in trials:
            own.setdefault(trial[field], []).append(trial)
        for line in cut:
            _same(f"the trials of {field} {line[field]}", _printed(own.get(line[field], [])), _printed([line]))
    for trial in trials:
        _same(f"the uses of trial {trial['trial']}", _printed(trial["by_use"].values()), _printed([trial]))
    for use in TRIAL_USES:
        cells = [trial["by_use"][use] for trial in trials if use in trial["by_use"]]
        _same(f"the trials' {use}", _printed(cells), _printed([summary["by_use"][use]]))
    _check_savings(summary["savings"])
    if summary["projection"]:
        _check_projection(summary["projection"], summary["total_usd"])


def _check_savings(savings: Json) -> None:
    spot = savings["spot_against_on_demand"]
    _same("on demand less spot", cents(spot["on_demand_usd"]) - cents(spot["spot_usd"]), cents(spot["usd"]))
    kills = savings["kill_rule_against_running_on"]
    _same("the killed trials' savings", sum(cents(line["usd"]) for line in kills["by_trial"]), cents(kills["usd"]))
    if min(cents(savings["first_hour_free"]["usd"]), *(cents(line["usd"]) for line in kills["by_trial"]), 0) < 0:
        raise UnbalancedBillError(f"a negative saving: {savings}")


def _check_projection(projection: Json, total_usd: float | None) -> None:
    lines = projection["by_trial"]
    _same("the remaining tokens", sum(line["tokens"] for line in lines), projection["remaining_tokens"])
    if projection["remaining_usd"] is not None:
        remaining = sum(cents(line["usd"]) for line in lines)
        _same("the remaining trials", remaining, cents(projection["remaining_usd"]))
        _same("total and remaining trials", cents(total_usd) + remaining, cents(projection["total_usd"]))


def _printed(lines: Iterable[Json]) -> tuple[int, ...]:
    """The sum of some lines in cents, milliseconds and unpriced milliseconds, from what they print."""
    sums = [0, 0, 0]
    for line in lines:
        amounts = ((line["usd"] or 0) * CENTS, line["node_seconds"] * MILLISECONDS)
        for place, amount in enumerate((*amounts, line["unpriced_node_seconds"] * MILLISECONDS)):
            if amount < 0:
                raise UnbalancedBillError(f"a negative amount: {line}")
            sums[place] += round(amount)
    return tuple(sums)


def _same(what: str, got: object, expected: object) -> None:
    if got != expected:
        raise UnbalancedBillError(f"{what}: {got} where {expected} is printed (cents, ms, unpriced ms)")
