"""A cost summary as a few plain tables for a terminal, or as CSV.

Always holds: it prints the summary's own figures and works out none but percentages; an unknown amount
shows as `-`, in CSV as nothing; where no machine costs anything, only time is shown.
Run `python -m cost report RESULTS_DIR`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cost.bill import OTHER_USES

Json = dict[str, Any]
_AMOUNT = ("usd", "node_seconds", "unpriced_node_seconds")
_MOST_NAMES = 6  # in a line
_SHORT_NAME = 8  # letters of a Ray node's id, as everywhere else
CSV_COLUMNS = ("stage", "trial", "variant", "status", "use", *_AMOUNT)


def is_free(summary: Json) -> bool:
    """Whether every machine is known to cost nothing, as one's own does where nobody has stated a price."""
    prices = [line["usd_per_hour"]["max"] for line in summary["by_node"]]
    return summary["total_usd"] == 0 and not any(prices) and not summary["unpriced_node_seconds"]


def print_report(summary: Json, name: str, console: Console) -> None:
    """Print total, budget, hours, savings, and the cuts by use, stage, variant, trial and node of a summary."""
    _print_line(console, f"Cost of {name}: {_headline(summary)}")
    _print_line(console, _hours(summary))
    for line in (*saving_lines(summary), *projection_lines(summary)):
        _print_line(console, line)
    for warning in summary["warnings"]:
        _print_line(console, f"warning: {warning}")
    by_use = [([use.replace("_", " ")], line) for use, line in summary["by_use"].items()]
    _print_table(console, ["use"], by_use, summary)
    for key in ("stage", "variant"):
        rows = [([line[key]], line) for line in summary[f"by_{key}"]]
        _print_table(console, [key], rows, summary)
    rows = [([line["stage"], line["trial"], line["status"] or "-"], line) for line in summary["by_trial"]]
    _print_table(console, ["stage", "trial", "status"], rows, summary)
    rows = [(_node_cells(line), line) for line in summary["by_node"]]
    heads = ["node", "type", "zone", "end", "USD/hour"]
    if is_free(summary):
        heads, rows = heads[:-1], [(cells[:-1], line) for cells, line in rows]
    _print_table(console, heads, rows, summary, shares=False)


def csv_report(summary: Json) -> str:
    """One row per trial and use, then boot, idle and head; each column of amounts sums to the total."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for trial in summary["by_trial"]:
        for use, amount in trial["by_use"].items():
            writer.writerow(trial | amount | {"use": use})
    for use in OTHER_USES:
        writer.writerow(summary["by_use"][use] | {"use": use})
    return stream.getvalue()


def _headline(summary: Json) -> str:
    total, budget = summary["total_usd"], summary["budget_usd"]
    if is_free(summary):
        return "nothing but time (`cost.fixed_usd_per_hour` is 0)"
    text = "unknown" if total is None else f"${total:,.2f}"
    if summary["unpriced_node_seconds"] and total is not None:
        text = f"at least {text}"
    if budget and total is not None:
        text += f" of a ${budget:,.2f} budget ({total / budget:.0%})"
    if summary["usd_per_million_tokens"] is not None:
        text += f", ${summary['usd_per_million_tokens']:.4f} per 1M tokens"
    return text


def _hours(summary: Json) -> str:
    until = f", billed until {summary['billed_until']}" if summary["billed_until"] else ""
    units = {"node": "node", "gpu": "GPU", "cpu": "CPU"}
    return ", ".join(f"{summary[f'{key}_hours']:,.2f} {unit}-hours" for key, unit in units.items()) + until


def saving_lines(summary: Json) -> list[str]:
    """A line for each saving of dollars that there is, or that is not known."""
    if is_free(summary):
        return []
    savings = summary["savings"]
    spot, first = savings["spot_against_on_demand"], savings["first_hour_free"]
    kills = savings["kill_rule_against_running_on"]
    lines = []
    if spot["node_seconds"]:
        paid = f"${spot['spot_usd']:,.2f} for what costs ${spot['on_demand_usd']:,.2f} on demand"
        lines.append(f"saved by spot instances: {_usd(spot['usd'])} ({paid})")
    if spot["unpriced_node_seconds"]:
        lines.append(f"saved by spot instances: unknown for {_clock(spot['unpriced_node_seconds'])} of node time")
    if first["node_seconds"]:
        lines.append(f"saved by first hours that AWS waived: {_usd(first['usd'])}")
    stopped = [line["trial"] for line in kills["by_trial"] if line["tokens_not_trained"] != 0]
    if stopped:
        more = f" and {len(stopped) - _MOST_NAMES:,} more" if len(stopped) > _MOST_NAMES else ""
        names = f"{', '.join(stopped[:_MOST_NAMES])}{more}"
        lines.append(f"saved by stopping losers early: {_usd(kills['usd'])} ({names})")
    return lines


def projection_lines(summary: Json) -> list[str]:
    """What the sweep will have cost in the end; nothing where all is done, or nothing is known of what is to come."""
    projection = summary["projection"]
    if not projection or not projection["remaining_tokens"]:
        return []
    tokens = f"{projection['remaining_tokens'] / 1e6:,.1f}M tokens to go"
    if is_free(summary):
        return [tokens]
    if projection["remaining_usd"] is None:
        return [f"projected to the end: unknown ({tokens})"]
    parts = f"{_usd(projection['remaining_usd'])} for {tokens}"
    return [f"projected to the end: {_usd(projection['total_usd'])} ({parts})"]


def _node_cells(line: Json) -> list[str]:
    prices = line["usd_per_hour"]
    low, high = prices["min"], prices["max"]
    price = "-" if low is None else f"{low:.4g}" if low == high else f"{low:.4g}-{high:.4g}"
    end = (line["ended"] or "-") + (", free" if line["first_hour_free"] else "")
    kind = f"{line['instance_type'] or ''} {line['lifecycle'] or 'own'}".strip()
    price += " stale" if prices["stale"] else ""
    return [line["node"][:_SHORT_NAME], kind, line["zone"] or "-", end, price]


def _print_line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _print_table(
    console: Console, heads: Sequence[str], rows: Iterable[tuple[list[str], Json]], summary: Json, shares: bool = True
) -> None:
    """`rows`: the first cells, and the line of the summary whose dollars, time and share of time follow."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    for head in heads:
        table.add_column(head, overflow="fold")
    amounts = ["node time"] if is_free(summary) else ["USD", "node time"]
    for head in amounts + ["of time"] * shares:
        table.add_column(head, justify="right", no_wrap=True)
    for cells, line in rows:
        usd = "-" if line["usd"] is None else f"{line['usd']:,.2f}"
        share = line["node_seconds"] / summary["node_seconds"] if summary["node_seconds"] else 0.0
        known = {"USD": usd, "node time": _clock(line["node_seconds"])}
        table.add_row(*map(escape, cells), *(known[head] for head in amounts), *[f"{share:.0%}"] * shares)
    if table.rows:
        console.print(table)


def _usd(amount: float | None) -> str:
    return "unknown" if amount is None else f"-${-amount:,.2f}" if amount < 0 else f"${amount:,.2f}"


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds, `1:02:03`."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
