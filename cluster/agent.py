"""What the agent does at each look at the metadata service: plain state, no clock, no network, no Ray of its own.

Always holds: a tick neither blocks on Ray nor raises for a service that hangs or errs; the flag is written before
Ray is told; a notice that stands is never forgotten because a later look failed; an event is one log line.
`agent_process.py` calls `tick(now)` in a loop and sleeps as long as it says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from cluster.errand import Errand
from cluster.imds import MetadataError
from cluster.notice import NodeRecord, Notice

POLL_SECONDS = 2.0
# A notice comes two minutes before the end, so even a failing service is asked often enough to use most of them.
LONGEST_POLL_SECONDS = 10.0
# Nobody answered this often in a row, and never before: this machine is not on EC2.
TRIES_BEFORE_ABSENT = 3
ABSENT_POLL_SECONDS = 60.0

Log = Callable[[str], None]


class Metadata(Protocol):
    """The questions to the metadata service, see `imds.MetadataClient`; each may raise MetadataError."""

    def record(self) -> NodeRecord: ...
    def spot_notice(self) -> tuple[str, float] | None: ...
    def rebalance(self) -> float | None: ...


class Agent:
    """Watches one machine.

    Args:
        metadata: answers for this machine.
        save: writes the record, and the flag or its absence, to this machine's disk; may raise OSError.
        errand: tells Ray the newest record, however often it takes.
        log: takes one line per event.
    """

    def __init__(self, metadata: Metadata, save: Callable[[NodeRecord], None], errand: Errand, log: Log) -> None:
        self.metadata, self.save, self.errand, self.log = metadata, save, errand, log
        self.record = NodeRecord()
        self.answered = False  # Has the service ever?
        self._misses = 0
        self._saved: NodeRecord | None = None
        self._save_failed = False

    @property
    def absent(self) -> bool:
        """There is no metadata service here: not EC2, or one that is switched off."""
        return not self.answered and self._misses >= TRIES_BEFORE_ABSENT

    def tick(self, now: float) -> float:
        """Look once, act on what is new, and say how many seconds to wait. `now`: Unix seconds."""
        before = self.record
        problem = self._look(now)
        if self.answered:
            self._keep(before)
        self.errand.advance(now)
        return self._pause(problem)

    def _look(self, now: float) -> MetadataError | None:
        """Bring the record up to date, the notice first: the others may wait, or fail, for another tick."""
        for look in (self._look_for_notice, self._look_for_rebalance, self._look_at_machine):
            try:
                look(now)
            except MetadataError as error:
                return error
            self.answered = True
        return None

    def _look_for_notice(self, now: float) -> None:
        seen, known = self.metadata.spot_notice(), self.record.notice
        if seen is None:
            notice = None
        elif known and (known.action, known.deadline) == seen:
            notice = known
        else:
            notice = Notice(action=seen[0], deadline=seen[1], noticed_at=now)
        self.record = replace(self.record, notice=notice)

    def _look_for_rebalance(self, now: float) -> None:
        self.record = replace(self.record, rebalance_at=self.metadata.rebalance())

    def _look_at_machine(self, now: float) -> None:
        if self.record.instance_id is None:
            machine = self.metadata.record()
            self.record = replace(machine, rebalance_at=self.record.rebalance_at, notice=self.record.notice)

    def _keep(self, before: NodeRecord) -> None:
        """Write down and pass on what changed. A full disk must not keep Ray from being told."""
        for line in _news(before, self.record):
            self.log(line)
        if self.record != before:
            self.errand.wants(self.record)
        if self.record != self._saved:
            try:
                self.save(self.record)
            except OSError as error:
                if not self._save_failed:
                    self.log(f"cannot write the flag: {error}; trying again")
                self._save_failed = True
            else:
                self._saved, self._save_failed = self.record, False

    def _pause(self, problem: MetadataError | None) -> float:
        if problem is None:
            if self._misses:
                self.log("the metadata service answers")
            self._misses = 0
            return POLL_SECONDS
        self._misses += 1
        if self.absent:
            if self._misses == TRIES_BEFORE_ABSENT:
                self.log(f"no metadata service here ({problem}): not on EC2, nothing to watch")
            return ABSENT_POLL_SECONDS
        if self._misses == 1 and self.answered:
            self.log(f"the metadata service fails ({problem}); trying again")
        return min(LONGEST_POLL_SECONDS, POLL_SECONDS * 2.0 ** min(self._misses - 1, 8))


def _news(before: NodeRecord, after: NodeRecord) -> list[str]:
    lines = []
    if after.instance_id and not before.instance_id:
        lines.append(f"this is {after.instance_id}, {after.lifecycle} {after.instance_type} in {after.zone}")
    if after.notice and after.notice != before.notice:
        left = after.notice.deadline - after.notice.noticed_at
        lines.append(f"spot notice: {after.notice.action} at {_utc(after.notice.deadline)}, in {left:.0f} s")
    if before.notice and not after.notice:
        lines.append("the spot notice was withdrawn")
    if after.rebalance_at and after.rebalance_at != before.rebalance_at:
        lines.append(f"EC2 recommends to move away, since {_utc(after.rebalance_at)}: noted, nothing is stopped")
    return lines


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
