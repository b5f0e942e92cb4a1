"""events.jsonl as it grows: each row read once, and found by trial and by machine.

Always holds: it sees every whole row of the file, whoever appended it; a line that is torn now is read when it has
been closed; what it gives for one trial is enough for that trial's share of the bill.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from pathlib import Path
from typing import Any

from cost import ledger
from cost.ledger import Row
from cost.rates import TrialName
from paramalloc.files import whole_rows

_OF_TRIALS = ("trial_start", "trial_end")
_OF_NODES = ("node_up", "node_down")


class Diary:
    """The rows of one events.jsonl.

    `counts`: how many rows there are of each kind of event.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts: dict[str, int] = defaultdict(int)
        self._rows: list[Row] = []
        self._of_trial: dict[TrialName, list[Row]] = defaultdict(list)
        self._of_node: dict[str, list[Row]] = defaultdict(list)  # what it is, when it came and went, its own prices
        self._on_node: dict[str, dict[TrialName, float]] = defaultdict(dict)  # until when; infinite: still there
        self._of_market: dict[tuple[Any, Any], list[Row]] = defaultdict(list)
        self._sessions: dict[str, tuple[float, float]] = {}  # first and last time
        self._read_bytes = 0

    def rows(self) -> list[Row]:
        """All whole rows so far; not to be changed."""
        if self.path.exists() and self.path.stat().st_size > self._read_bytes:
            with self.path.open("rb") as stream:
                stream.seek(self._read_bytes)
                new = stream.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read_bytes += len(whole)
            for row in whole_rows(whole):
                self._take_in(row)
        return self._rows

    def of_trial(self, name: TrialName) -> list[Row]:
        """All that is written of one trial."""
        self.rows()
        return list(self._of_trial[name])

    def bill_of_trial(self, name: TrialName) -> list[Row]:
        """Rows that give the same charges for this trial as all rows do: its machines, and who was there with it."""
        own = self.of_trial(name)
        starts = [row for row in own if row["event"] == "trial_start"]
        nodes = dict.fromkeys(row["node"] for row in starts)
        since = min((row["time"] for row in starts), default=0.0)
        others = {other: None for node in nodes for other, until in self._on_node[node].items() if until > since}
        found = [row for node in nodes for row in self._of_node[node]]
        types, zones = ({row.get(field) for row in found} for field in ("instance_type", "zone"))
        found += [row for market in itertools.product(types, zones) for row in self._of_market.get(market, ())]
        on_the_nodes = (row for other in others | {name: None} for row in self._of_trial[other])
        found += [row for row in on_the_nodes if row["event"] in _OF_TRIALS]
        return found + self.sessions()

    def sessions(self) -> list[Row]:
        """The first and the last sign of each session, as rows."""
        return [
            row
            for session, (first, last) in self._sessions.items()
            for row in (
                ledger.session_start(time=first, session=session),
                ledger.heartbeat(time=last, session=session),
            )
        ]

    def _take_in(self, row: Row) -> None:
        self._rows.append(row)
        kind = row.get("event")
        self.counts[str(kind)] += 1
        if "trial" in row and "stage" in row:
            self._of_trial[row["stage"], row["trial"]].append(row)
        if kind in _OF_NODES or (kind == "price" and row.get("node")):
            self._of_node[row["node"]].append(row)
        elif kind == "price":
            self._of_market[_market(row)].append(row)
        elif kind in _OF_TRIALS:
            until = row["time"] if kind == "trial_end" else float("inf")
            self._on_node[row["node"]][row["stage"], row["trial"]] = until
        if "session" in row:
            first, last = self._sessions.get(row["session"], (row["time"], row["time"]))
            self._sessions[row["session"]] = min(first, row["time"]), max(last, row["time"])


def _market(row: Row) -> tuple[Any, Any]:
    return row.get("instance_type"), row.get("zone")
