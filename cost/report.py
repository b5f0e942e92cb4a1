"""A cost summary as a few plain tables for a terminal.

Always holds: it prints the summary's own figures and works out none but percentages; an unknown amount
shows as `-`.
Run `python -m cost report RESULTS_DIR`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

Json = dict[str, Any]


def print_report(summary: Json, name: str, console: Console) -> None:
    """Print total, budget, hours, and the cuts by use, stage, variant and trial of what `summarize` gives."""
    console.print(f"Cost of {name}: {_headline(summary)}", markup=False, highlight=False, soft_wrap=True)
    console.print(_hours(summary), markup=False, highlight=False, soft_wrap=True)
    for warning in summary["warnings"]:
        console.print(f"warning: {warning}", markup=False, highlight=False, soft_wrap=True)
    by_use = [(use.replace("_", " "), line) for use, line in summary["by_use"].items()]
    _print_table(console, ["use"], [([use], line) for use, line in by_use], summary)
    for key in ("stage", "variant"):
        rows = [([line[key]], line) for line in summary[f"by_{key}"]]
        _print_table(console, [key], rows, summary)
    rows = [([line["stage"], line["trial"], line["status"] or "-"], line) for line in summary["by_trial"]]
    _print_table(console, ["stage", "trial", "status"], rows, summary)


def _headline(summary: Json) -> str:
    total, budget = summary["total_usd"], summary["budget_usd"]
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


def _print_table(console: Console, heads: list[str], rows: Iterable[tuple[list[str], Json]], summary: Json) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="")
    for head in heads:
        table.add_column(head, overflow="fold")
    for head in ("USD", "node time", "of time"):
        table.add_column(head, justify="right", no_wrap=True)
    for cells, line in rows:
        usd = "-" if line["usd"] is None else f"{line['usd']:,.2f}"
        share = line["node_seconds"] / summary["node_seconds"] if summary["node_seconds"] else 0.0
        table.add_row(*map(escape, cells), usd, _clock(line["node_seconds"]), f"{share:.0%}")
    if table.rows:
        console.print(table)


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds, `1:02:03`."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
