"""The sweep's diary: every event as one JSON line in events.jsonl, and as one sentence for whoever is watching.

Always holds: a line is on disk before anybody is told; the diary is only ever appended to, over all sessions of a
sweep. Rows that money depends on use the ledger's vocabulary (`cost.ledger`), the others carry a `text`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cost import ledger
from cost.summary import summarize
from cost.timeline import MICROSECONDS, attempts
from paramalloc.config import CostConfig
from paramalloc.files import append_jsonl, read_jsonl, write_json
from paramalloc.results import ResultsFolder


@dataclass(frozen=True)
class Spent:
    """What all attempts at one trial together took; `cost_usd` is None where no price is known."""

    attempts: int
    wall_seconds: float
    cost_usd: float | None


class Journal:
    """One session's hand in events.jsonl and COST_SUMMARY.json.

    Args:
        folder: the sweep's results.
        cost: budget and fixed price.
        say: shows one sentence to a person.
        clock: Unix seconds.
    """

    def __init__(
        self,
        folder: ResultsFolder,
        cost: CostConfig,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder, self.cost, self.say, self.clock = folder, cost, say, clock
        self.session = uuid.uuid4().hex[:12]
        self.tokens: dict[tuple[str, str], int] = {}  # trained so far, by (stage, trial); for the price of a token
        self.bill(ledger.session_start)
        self.began: str = read_jsonl(folder.events)[0]["session"]  # names the sweep over all of its sessions

    def tell(self, event: str, text: str, **fields: Any) -> None:
        """Record something worth knowing and say it."""
        append_jsonl(self.folder.events, {"event": event, "time": self.clock(), "text": text, **fields})
        self.say(text)

    def bill(self, row: Callable[..., dict[str, Any]], time: float | None = None, **fields: Any) -> None:
        """Record something that money depends on, now or at `time`; `row` is one of the ledger's constructors."""
        when = self.clock() if time is None else time
        append_jsonl(self.folder.events, row(time=when, session=self.session, **fields))

    def cost_summary(self) -> dict[str, Any]:
        """The bill so far, as it stands in COST_SUMMARY.json."""
        return summarize(
            read_jsonl(self.folder.events),
            budget_usd=self.cost.budget_usd,
            now=self.clock(),
            fixed_usd_per_hour=self.cost.fixed_usd_per_hour,
            tokens_by_trial=self.tokens,
        )

    def spent(self, stage: str, trial: str) -> Spent:
        """Attempts, wall time and dollars of one trial over all sessions so far."""
        rows = ledger.parse(read_jsonl(self.folder.events))
        own = [attempt for attempt in attempts(rows) if (attempt.stage, attempt.trial) == (stage, trial)]
        billed = {(line["stage"], line["trial"]): line["usd"] for line in self.cost_summary()["by_trial"]}
        return Spent(
            attempts=len(own),
            wall_seconds=sum(attempt.end - attempt.start for attempt in own) / MICROSECONDS,
            cost_usd=billed.get((stage, trial)),
        )

    def write_cost_summary(self) -> None:
        write_json(self.folder.cost_summary, self.cost_summary())

    def close(self) -> None:
        self.bill(ledger.session_end)
        self.write_cost_summary()
