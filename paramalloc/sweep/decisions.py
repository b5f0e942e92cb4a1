"""decisions.jsonl: what a sweep has decided, and what of it still holds after the sweep file has grown.

Always holds: rows are only ever appended; a promotion or a winner holds until a `reopen` row follows it, a kill and
an automatic learning rate (`learning_rate`) for good.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]
LEARNING_RATE, KILL, PROMOTE, WINNER, REOPEN = "learning_rate", "kill", "promote", "winner", "reopen"


def in_force(rows: Iterable[Row], decision: str) -> Row | None:
    """The newest `promote` or `winner` that no later `reopen` has lifted."""
    found = None
    for row in rows:
        if row["decision"] == decision:
            found = row
        elif row["decision"] == REOPEN:
            found = None
    return found
