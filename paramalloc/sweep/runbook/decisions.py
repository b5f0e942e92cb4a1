"""decisions.jsonl: what a sweep has decided, and what of it still holds after the sweep file has grown.

Always holds: rows are only ever appended; a promotion, a winner and a noise calibration hold until a `reopen` row
follows them; a kill, an audit, an automatic learning rate (`learning_rate`), the winner of a stage that is not the
last (`stage_winner`) and a round of proposals (`proposals`) hold for good.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from paramalloc.files import read_jsonl
from paramalloc.results import ResultsFolder

Row = dict[str, Any]
LEARNING_RATE, NOISE, KILL, STAGE_WINNER = "learning_rate", "noise", "kill", "stage_winner"
PROMOTE, AUDIT, WINNER, REOPEN = "promote", "audit", "winner", "reopen"


def in_force(rows: Iterable[Row], decision: str) -> Row | None:
    """The newest row of a kind (`promote`, `winner` or `noise`) that no later `reopen` has lifted."""
    found = None
    for row in rows:
        if row["decision"] == decision:
            found = row
        elif row["decision"] == REOPEN:
            found = None
    return found


def stage_winners(rows: Iterable[Row]) -> dict[str, Row]:
    """The winner of each ranking stage but the last, by stage."""
    return {row["stage"]: row for row in rows if row["decision"] == STAGE_WINNER}


def decided(folder: ResultsFolder, decision: str) -> Row | None:
    """The `noise`, `promote` or `winner` row that is in force."""
    return in_force(read_jsonl(folder.decisions), decision)


def known_winners(folder: ResultsFolder) -> dict[str, str]:
    """The variants that have won their stages, by stage."""
    return {stage: row["variant"] for stage, row in stage_winners(read_jsonl(folder.decisions)).items()}
