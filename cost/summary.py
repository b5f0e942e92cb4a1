"""The content of COST_SUMMARY.json: the bill cut by use, stage, variant, trial and node, savings, projection.

Always holds: what is printed adds up exactly, in cents and in milliseconds, along every cut, and
`cost.invariants` proves it on the printed numbers each time; `cost_summary.schema.json` describes it. Dollars
are JSON numbers with two decimals, so `round(100 * x)` is exact. `usd` is null where no second of a line has a
known price; `unpriced_node_seconds` says what dollars leave out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from cost.amounts import Amount, microseconds, total_by
from cost.bill import TRIAL_USES, USES, Bill, make_bill
from cost.invariants import check
from cost.ledger import Event, SessionEvent, parse
from cost.nodes import node_lines, node_warnings
from cost.projection import projection_of
from cost.rates import Rates, TrialName
from cost.rounding import Line, Units, round_bill
from cost.savings import savings_of

SCHEMA_VERSION = 3
Json = dict[str, Any]


def summarize(
    rows: Iterable[Mapping[str, Any]],
    *,
    budget_usd: float | None,
    now: float,
    fixed_usd_per_hour: float | None,
    tokens_by_trial: Mapping[TrialName, int] | None = None,
    budget_tokens_by_trial: Mapping[TrialName, int] | None = None,
    remaining_tokens_by_trial: Mapping[TrialName, int] | None = None,
    remaining_variants: Mapping[TrialName, str] | None = None,
) -> Json:
    """What a sweep has cost up to the last event of its ledger, as strict JSON values.

    Args:
        rows: the rows of events.jsonl, in any order; those of other kinds are left alone.
        now: Unix seconds, for `generated_at` only.
        fixed_usd_per_hour: the price of a node of one's own; None where nobody has stated one.
        tokens_by_trial: tokens trained so far by (stage, trial); without a figure for every trial that spent
            anything, the sweep's price per million tokens is null.
        budget_tokens_by_trial: tokens that each trial would train if nothing stopped it, for what kills saved.
        remaining_tokens_by_trial: tokens still to be trained, also by trials that have not begun; None: no
            projection. Names of trials that are not decided yet (finalists) may be made up.
        remaining_variants: the variants of those of them that are decided.
    Errors: CostError for a row that cannot be right; UnbalancedBillError for a bug in here.
    """
    events = parse(rows)
    bill = make_bill(events, fixed_usd_per_hour)
    lines, nodes = round_bill(bill)
    total = sum(lines.values(), Units()).json()
    tokens, budget_tokens = tokens_by_trial or {}, budget_tokens_by_trial or {}
    by_trial = _by_trial(bill, lines, tokens, budget_tokens)
    rates, unwaived = Rates(bill, tokens), bill.unwaived()
    rates_to_come = rates if unwaived is bill else Rates(unwaived, tokens)
    summary = {
        "schema_version": SCHEMA_VERSION,
        "generated_at": _iso(now),
        "billed_until": max((_iso(e.time) for e in events if isinstance(e, SessionEvent)), default=None),
        "currency": "USD",
        "total_usd": total["usd"],
        "budget_usd": budget_usd,
        "fixed_usd_per_hour": fixed_usd_per_hour,
        "usd_per_million_tokens": _usd_per_million(bill.total, [line["tokens"] for line in by_trial]),
        "node_hours": _hours(bill.total.seconds),
        "gpu_hours": _hours(bill.gpu_seconds),
        "cpu_hours": _hours(bill.cpu_seconds),
        "node_seconds": total["node_seconds"],
        "unpriced_node_seconds": total["unpriced_node_seconds"],
        "by_use": _by_use(lines),
        "by_stage": _by_field("stage", lines),
        "by_variant": _by_variant(bill, lines, tokens),
        "by_trial": by_trial,
        "by_node": node_lines(bill, nodes),
        "savings": savings_of(bill, rates, tokens, budget_tokens),
        "projection": None
        if remaining_tokens_by_trial is None
        else projection_of(bill, rates_to_come, remaining_tokens_by_trial, remaining_variants or {}),
        "warnings": [*node_warnings(bill, nodes, _last_session(events)), *_unplaced(bill)],
    }
    check(summary)
    return summary


def _last_session(events: Iterable[Event]) -> int:
    """When the last session began, by the first of its events."""
    first: dict[str, int] = {}
    for event in events:
        if isinstance(event, SessionEvent):
            first[event.session] = min(first.get(event.session, microseconds(event.time)), microseconds(event.time))
    return max(first.values(), default=0)


def _by_use(lines: Mapping[Line, Units]) -> Json:
    totals = dict.fromkeys(USES, Units())
    for (_, use), units in lines.items():
        totals[use] += units
    return {use: units.json() for use, units in totals.items()}


def _by_field(field: str, lines: Mapping[Line, Units]) -> list[Json]:
    """The trials' lines by stage or variant, in order of first start; boot, idle and head are in none."""
    totals: dict[str, Units] = {}
    for (trial, _), units in lines.items():
        if trial:
            name = getattr(trial, field)
            totals[name] = totals.get(name, Units()) + units
    return [{field: name, **units.json()} for name, units in totals.items()]


def _by_variant(bill: Bill, lines: Mapping[Line, Units], tokens: Mapping[TrialName, int]) -> list[Json]:
    exact = total_by((trial.variant, amount) for trial, amount in bill.by_trial.items() if trial)
    counts: dict[str, list[int | None]] = {}
    for trial in bill.trials:
        counts.setdefault(trial.variant, []).append(tokens.get((trial.stage, trial.trial)))
    return [
        {
            **line,
            "tokens": _sum_of_known(counts[line["variant"]]),
            "usd_per_million_tokens": _usd_per_million(exact[line["variant"]], counts[line["variant"]]),
        }
        for line in _by_field("variant", lines)
    ]


def _by_trial(
    bill: Bill, lines: Mapping[Line, Units], tokens: Mapping[TrialName, int], budget_tokens: Mapping[TrialName, int]
) -> list[Json]:
    found = []
    for trial, status in bill.trials.items():
        name = (trial.stage, trial.trial)
        uses = {use: lines[trial, use] for use in TRIAL_USES if (trial, use) in lines}
        line = {
            "stage": trial.stage,
            "trial": trial.trial,
            "variant": trial.variant,
            "status": status,
            **sum(uses.values(), Units()).json(),
            "tokens": tokens.get(name),
            "budget_tokens": budget_tokens.get(name),
            "usd_per_million_tokens": _usd_per_million(bill.by_trial.get(trial, Amount()), [tokens.get(name)]),
            "by_use": {use: units.json() for use, units in uses.items()},
        }
        found.append(line)
    return found


def _sum_of_known(counts: Sequence[int | None]) -> int | None:
    """Null where one is missing."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _usd_per_million(exact: Amount, tokens: Sequence[int | None]) -> float | None:
    """Dollars per 1M tokens; null where a count is missing, none was trained or a price is unknown."""
    trained = _sum_of_known(tokens)
    if not trained or exact.unpriced_seconds:
        return None
    return round(float(exact.usd * 1_000_000 / trained), 6)


def _unplaced(bill: Bill) -> list[str]:
    return [
        f"trial {trial.stage}/{trial.trial}: ran on a node that no event says was up; that time is not billed"
        for trial in bill.unplaced
    ]


def _hours(seconds: Fraction) -> float:
    return round(float(seconds / 3600), 4)


def _iso(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
