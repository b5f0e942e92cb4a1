"""Where a sweep's wall time went, from its diary and ledger alone.

Always holds: a pure function of the rows of events.jsonl; the spans add up to the whole. While trials ran on some of
the slots, the share of the others is counted apart, as "slots without a trial".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paramalloc.results import SANITY

Row = Mapping[str, Any]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Span:
    """A part of a sweep's wall time, in seconds."""

    name: str
    seconds: float


def time_line(rows: Sequence[Row], began: float, ended: float, slots: int) -> list[Span]:
    """The spans of one session; together they are its wall time.

    Args:
        rows: of events.jsonl.
        began, ended: of the whole process, Unix seconds.
        slots: how many trials run at a time.
    """
    machine = min(row["time"] for row in rows if row["event"] == "node_up")
    checks = attempts(row for row in rows if row.get("stage") == SANITY)
    trials = attempts(row for row in rows if row.get("stage") != SANITY)
    checked = max((end for _, end in checks), default=machine)
    first, last = min(start for start, _ in trials), max(end for _, end in trials)
    busy = _union_seconds(trials)
    idle_share = max(0.0, busy - sum(end - start for start, end in trials) / slots)
    return [
        Span("before Ray's machine is there", machine - began),
        Span("sanity checks", checked - machine),
        Span("until the first trial", first - checked),
        Span("trials", busy - idle_share),
        Span("slots without a trial", idle_share),
        Span("between stages, no trial at all", last - first - busy),
        Span("after the last trial: measuring, report", ended - last),
    ]


def attempts(rows: Iterable[Row]) -> list[Interval]:
    """From each `trial_start` to its `trial_end`, in Unix seconds; one without an end is left out."""
    open_since: dict[tuple[str, str], float] = {}
    found = []
    for row in rows:
        if row["event"] == "trial_start":
            open_since[row["stage"], row["trial"]] = row["time"]
        elif row["event"] == "trial_end" and (row["stage"], row["trial"]) in open_since:
            found.append((open_since.pop((row["stage"], row["trial"])), row["time"]))
    return found


def _union_seconds(intervals: Iterable[Interval]) -> float:
    """For how long at least one of them lasted."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
