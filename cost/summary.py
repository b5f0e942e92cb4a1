"""The content of COST_SUMMARY.json: the bill cut by use, stage, variant, trial and node.

Always holds: what is printed adds up exactly, in cents and in milliseconds, along every cut, and `check`
proves it on the printed numbers each time. Dollars are JSON numbers with two decimals, so `round(100 * x)`
is exact. `usd` is null where no second of a line has a known price; `unpriced_node_seconds` says what
dollars leave out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from cost.bill import IDLE, OVERHEAD, TRIAL_USES, USES, Amount, Bill, TrialId, make_bill, total_by
from cost.ledger import SessionEvent, parse
from cost.rounding import CENTS, MILLISECONDS, Line, Units, round_bill

SCHEMA_VERSION = 1
TrialName = tuple[str, str]  # (stage, trial)
Json = dict[str, Any]


class UnbalancedBillError(AssertionError):
    """A bug in this package: the sums of a summary contradict each other."""


def summarize(
    rows: Iterable[Mapping[str, Any]],
    *,
    budget_usd: float | None,
    now: float,
    fixed_usd_per_hour: float | None,
    tokens_by_trial: Mapping[TrialName, int] | None = None,
) -> Json:
    """What a sweep has cost up to the last event of its ledger, as strict JSON values.

    Args:
        rows: the rows of events.jsonl, in any order; those of other kinds are left alone.
        now: Unix seconds, for `generated_at` only.
        fixed_usd_per_hour: the price of a node of one's own; None where nobody has stated one.
        tokens_by_trial: tokens trained so far by (stage, trial); without a figure for every trial that spent
            anything, the sweep's price per million tokens is null.
    Errors: CostError for a row that cannot be right; UnbalancedBillError for a bug in here.
    """
    events = parse(rows)
    bill = make_bill(events, fixed_usd_per_hour)
    lines, nodes = round_bill(bill)
    total = sum(lines.values(), Units()).json()
    by_trial = _by_trial(bill, lines, tokens_by_trial or {})
    exact = sum((charge.amount for charge in bill.charges), Amount())
    summary = {
        "schema_version": SCHEMA_VERSION,
        "generated_at": _iso(now),
        "billed_until": max((_iso(e.time) for e in events if isinstance(e, SessionEvent)), default=None),
        "currency": "USD",
        "total_usd": total["usd"],
        "budget_usd": budget_usd,
        "fixed_usd_per_hour": fixed_usd_per_hour,
        "usd_per_million_tokens": _usd_per_million(exact, [line["tokens"] for line in by_trial]),
        "node_hours": _hours(exact.priced_seconds + exact.unpriced_seconds),
        "gpu_hours": _hours(bill.gpu_seconds),
        "cpu_hours": _hours(bill.cpu_seconds),
        "node_seconds": total["node_seconds"],
        "unpriced_node_seconds": total["unpriced_node_seconds"],
        "by_use": _by_use(lines),
        "by_stage": _by_field("stage", lines),
        "by_variant": _by_field("variant", lines),
        "by_trial": by_trial,
        "by_node": [_node_line(node, bill, units) for node, units in nodes.items()],
        "warnings": _warnings(bill, nodes),
    }
    check(summary)
    return summary


def _by_use(lines: Mapping[Line, Units]) -> Json:
    totals = dict.fromkeys(USES, Units())
    for (_, use), units in lines.items():
        totals[use] += units
    return {use: units.json() for use, units in totals.items()}


def _by_field(field: str, lines: Mapping[Line, Units]) -> list[Json]:
    """The trials' lines by stage or variant, in order of first start; idle and overhead are in none."""
    totals: dict[str, Units] = {}
    for (trial, _), units in lines.items():
        if trial:
            name = getattr(trial, field)
            totals[name] = totals.get(name, Units()) + units
    return [{field: name, **units.json()} for name, units in totals.items()]


def _by_trial(bill: Bill, lines: Mapping[Line, Units], tokens: Mapping[TrialName, int]) -> list[Json]:
    exact = total_by((charge.trial, charge.amount) for charge in bill.charges)
    return [
        _trial_line(trial, status, lines, exact.get(trial, Amount()), tokens.get((trial.stage, trial.trial)))
        for trial, status in bill.trials.items()
    ]


def _trial_line(
    trial: TrialId, status: str | None, lines: Mapping[Line, Units], exact: Amount, tokens: int | None
) -> Json:
    uses = {use: lines[trial, use] for use in TRIAL_USES if (trial, use) in lines}
    return {
        "stage": trial.stage,
        "trial": trial.trial,
        "variant": trial.variant,
        "status": status,
        **sum(uses.values(), Units()).json(),
        "tokens": tokens,
        "usd_per_million_tokens": _usd_per_million(exact, [tokens]),
        "by_use": {use: units.json() for use, units in uses.items()},
    }


def _usd_per_million(exact: Amount, tokens: Iterable[int | None]) -> float | None:
    """Dollars per 1M tokens; null where a count is missing, none was trained or a price is unknown."""
    counts = list(tokens)
    known = [count for count in counts if count is not None]
    if len(known) < len(counts) or not sum(known) or exact.unpriced_seconds:
        return None
    return round(float(exact.usd * 1_000_000 / sum(known)), 6)


def _node_line(node: str, bill: Bill, units: Units) -> Json:
    spec, prices = bill.nodes[node]
    latest = prices.usd_per_hour[-1]
    return {
        "node": node,
        "kind": spec.kind,
        "instance_type": spec.instance_type,
        "zone": spec.zone,
        "lifecycle": spec.lifecycle,
        "gpus": spec.gpus,
        "cpus": spec.cpus,
        "price": prices.source,
        "latest_usd_per_hour": None if latest is None else float(latest),
        **units.json(),
    }


def _warnings(bill: Bill, nodes: Mapping[str, Units]) -> list[str]:
    unpriced = [
        f"node {node}: no price is known for its {units.unpriced_ms / MILLISECONDS:.0f} s, not in the total"
        for node, units in nodes.items()
        if units.unpriced_ms
    ]
    unplaced = [
        f"trial {trial.stage}/{trial.trial}: ran on a node that no event says was up; that time is not billed"
        for trial in bill.unplaced
    ]
    return unpriced + unplaced


def _hours(seconds: Fraction) -> float:
    return round(float(seconds / 3600), 4)


def _iso(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def check(summary: Json) -> None:
    """Raise UnbalancedBillError unless uses = nodes = trials + idle + overhead = total, as printed.

    Stages and variants have to equal their trials, and each trial and each use the cells of trial by use.
    """
    trials = summary["by_trial"]
    rest = [summary["by_use"][use] for use in (IDLE, OVERHEAD)]
    total = _printed([summary | {"usd": summary["total_usd"]}])
    _same("the nodes", _printed(summary["by_node"]), total)
    _same("the uses", _printed(summary["by_use"].values()), total)
    _same("trials, idle and overhead", _printed([*trials, *rest]), total)
    for field in ("stage", "variant"):
        cut = summary[f"by_{field}"]
        _same(f"the lines by {field}, idle and overhead", _printed([*cut, *rest]), total)
        for line in cut:
            own = [trial for trial in trials if trial[field] == line[field]]
            _same(f"the trials of {field} {line[field]}", _printed(own), _printed([line]))
    for trial in trials:
        _same(f"the uses of trial {trial['trial']}", _printed(trial["by_use"].values()), _printed([trial]))
    for use in TRIAL_USES:
        cells = [trial["by_use"][use] for trial in trials if use in trial["by_use"]]
        _same(f"the trials' {use}", _printed(cells), _printed([summary["by_use"][use]]))


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


def _same(what: str, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if got != expected:
        raise UnbalancedBillError(f"{what}: {got} (cents, ms, unpriced ms) where the total is {expected}")
