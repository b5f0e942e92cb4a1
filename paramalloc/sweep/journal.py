"""The sweep's diary: every event as one JSON line in events.jsonl, and as one sentence for whoever is watching.

Always holds: a line is on disk before anybody is told; the diary is only ever appended to, over all sessions of a
sweep. Rows that money depends on use the ledger's vocabulary (`cost.ledger`), the others carry a `text`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cost import ledger
from cost.badges import cost_badge, progress_badge
from cost.ledger import Row
from cost.one_trial import usd_of_trial
from cost.rates import TrialName
from cost.summary import summarize
from cost.timeline import MICROSECONDS, Attempt, attempts
from paramalloc.config import CostConfig
from paramalloc.files import append_jsonl, atomic_write, write_json
from paramalloc.results import SANITY, ResultsFolder
from paramalloc.sweep.diary import Diary
from paramalloc.sweep.outlook import Outlook

SUMMARY_SECONDS = 60.0  # between two COST_SUMMARY.json while a sweep runs
SUMMARY_SHARE = 0.05  # of the driver's time at most goes into them
# A trial was called back from a machine with a spot notice; its worker was lost, with or without the machine.
TRIAL_PREEMPTED, TRIAL_LOST, TRIAL_RESUMED = "trial_preempted", "trial_lost", "trial_resumed"


@dataclass(frozen=True)
class Spent:
    """What all attempts at one trial together took; `lost_seconds` and `cost_usd` are None where unknown.

    `preemptions`: how often its worker was lost or called back from a machine that was.
    """

    wall_seconds: float
    lost_seconds: float | None
    preemptions: int
    cost_usd: float | None


@dataclass(frozen=True)
class OpenAttempt:
    """An attempt at a trial whose driver died: it began at `tokens`, and went on until `ended` at least."""

    session: str
    node: str
    began: float
    ended: float
    tokens: int


class Journal:
    """One session's hand in events.jsonl, COST_SUMMARY.json and the badges.

    `tokens` (trained so far) and `look_ahead` are for whoever knows them to set; `newest` is for whoever shows it.

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
        self._diary = Diary(folder.events)
        self.session = uuid.uuid4().hex[:12]
        self.tokens: dict[TrialName, int] = {}  # for the price of a token
        self.look_ahead: Callable[[], Outlook] = Outlook
        self.newest: dict[str, Any] | None = None  # the bill as it was last worked out
        self._next_summary = clock() + SUMMARY_SECONDS
        self.bill(ledger.session_start)
        rows = self._diary.rows()  # whose first may have been torn
        self.began: str = next(row["session"] for row in rows if "session" in row)  # names the sweep for good

    def tell(self, event: str, text: str, **fields: Any) -> None:
        """Record something worth knowing and say it."""
        append_jsonl(self.folder.events, {"event": event, "time": self.clock(), "text": text, **fields})
        self.say(text)

    def bill(self, row: Callable[..., Row], time: float | None = None, **fields: Any) -> Row:
        """Record something that money depends on, now or at `time`; `row` is one of the ledger's constructors."""
        when = self.clock() if time is None else time
        billed = row(**{"time": when, "session": self.session, **fields})
        append_jsonl(self.folder.events, billed)
        return billed

    def cost_summary(self) -> dict[str, Any]:
        """The bill so far, as it stands in COST_SUMMARY.json."""
        return self._summarize(self._diary.rows())

    def bill_now(self, tokens: Mapping[TrialName, int]) -> dict[str, Any]:
        """The bill up to this moment, with better counts of some trials' tokens than those of their evaluations."""
        now = ledger.heartbeat(time=self.clock(), session=self.session)
        return self._summarize([*self._diary.rows(), now], tokens)

    def spent(self, stage: str, trial: str) -> Spent:
        """What one trial took over all sessions so far; to be asked when its last attempt is over."""
        name, about = (stage, trial), self._diary.of_trial((stage, trial))
        own = attempts(ledger.parse([*about, *self._diary.sessions()]))
        rows = self._diary.bill_of_trial(name)
        return Spent(
            wall_seconds=sum(attempt.end - attempt.start for attempt in own) / MICROSECONDS,
            lost_seconds=_lost_seconds(own[:-1]),
            preemptions=sum(row["event"] in (TRIAL_PREEMPTED, TRIAL_LOST) for row in about),
            cost_usd=usd_of_trial(rows, name, self.cost.fixed_usd_per_hour),
        )

    def last_end(self, stage: str, trial: str) -> Row | None:
        """The newest `trial_end` of a trial, of whichever session."""
        ends = [row for row in self._diary.of_trial((stage, trial)) if row["event"] == "trial_end"]
        return ends[-1] if ends else None

    def preemptions(self) -> int:
        """How often trials lost their worker, or were called back from a machine that had notice, in all sessions."""
        self._diary.rows()
        return self._diary.counts[TRIAL_PREEMPTED] + self._diary.counts[TRIAL_LOST]

    def left_open(self) -> dict[tuple[str, str], OpenAttempt]:
        """What earlier drivers left without an end, by (stage, trial)."""
        found: dict[tuple[str, str], OpenAttempt] = {}
        closes: dict[str, float] = {}
        for row in self._diary.rows():
            key, session = (row.get("stage", ""), row.get("trial", "")), row.get("session", self.session)
            closes[session] = max(closes.get(session, 0.0), row["time"])
            if row["event"] == "trial_start":
                found[key] = OpenAttempt(session, row["node"], row["time"], row["time"], 0)
            elif row["event"] == TRIAL_RESUMED and key in found:
                found[key] = replace(found[key], tokens=row.get("tokens", 0))
            elif row["event"] == "trial_end":
                found.pop(key, None)
        return {
            key: replace(attempt, ended=closes[attempt.session])
            for key, attempt in found.items()
            if attempt.session != self.session
        }

    def write_cost_summary(self) -> None:
        """Write COST_SUMMARY.json and the badges for a README."""
        began = self.clock()
        summary = self.cost_summary()
        write_json(self.folder.cost_summary, summary)
        atomic_write(self.folder.cost_badge, cost_badge(summary))
        if summary["projection"]:
            done = sum(self.tokens.values())
            total = done + summary["projection"]["remaining_tokens"]
            atomic_write(self.folder.progress_badge, progress_badge(done, total))
        self._next_summary = began + max(SUMMARY_SECONDS, (self.clock() - began) / SUMMARY_SHARE)

    def refresh_cost_summary(self) -> None:
        """Write them again where the last time is a minute ago, or longer where that took long."""
        if self.clock() >= self._next_summary:
            self.write_cost_summary()

    def close(self) -> None:
        self.bill(ledger.session_end)
        self.write_cost_summary()

    def _summarize(self, rows: list[dict[str, Any]], better: Mapping[TrialName, int] | None = None) -> dict[str, Any]:
        """`better`: counts of tokens that go before those of `self.tokens`."""
        ahead = self.look_ahead()
        checks = {(SANITY, row["trial"]): 0 for row in rows if row.get("stage") == SANITY and "trial" in row}
        self.newest = summarize(
            rows,
            budget_usd=self.cost.budget_usd,
            now=self.clock(),
            fixed_usd_per_hour=self.cost.fixed_usd_per_hour,
            tokens_by_trial=checks | self.tokens | dict(better or {}),
            budget_tokens_by_trial=ahead.budget_tokens,
            remaining_tokens_by_trial=ahead.remaining_tokens,
            remaining_variants=ahead.variants,
        )
        return self.newest


def _lost_seconds(over: Sequence[Attempt]) -> float | None:
    """Of attempts that were followed by another one; None where the loss of one is not known."""
    lost = [attempt.lost for attempt in over]
    return None if None in lost else sum(seconds or 0 for seconds in lost) / MICROSECONDS
