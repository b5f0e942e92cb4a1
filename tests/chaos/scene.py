"""A sweep under way on machines that are being taken from it: its drivers, and what struck whom.

Always holds: every new driver is given the same command; what the driver could have seen is told from what happened
while there was none.
"""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paramalloc.files import read_jsonl
from paramalloc.results import ResultsFolder
from tests.chaos.drivers import Driver
from tests.chaos.nodes import Machines
from tests.chaos.plan import Fault
from tests.s3_server import S3Server

TrialKey = tuple[str, str]  # stage, name
EXIT_DONE = 0
_OVER = ("trial_end", "trial_lost", "trial_preempted", "trial_stopped", "trial_error")


@dataclass(frozen=True)
class Struck:
    """A blow: when, which nodes were lost, and the tokens of each trial that was under way where it fell."""

    kind: str
    time: float
    nodes: tuple[str, ...]
    trials: dict[TrialKey, int]
    noticed: bool


class Scene:
    """One run of one plan. `folder.root.parent` is the run's own."""

    def __init__(self, machines: Machines, sweep: Path, folder: ResultsFolder, s3: S3Server) -> None:
        self.machines, self.sweep, self.folder, self.s3 = machines, sweep, folder, s3
        self.struck: list[Struck] = []
        self.codes: list[int | None] = []
        self.start_driver()

    @property
    def done(self) -> bool:
        return bool(self.codes) and self.codes[-1] == EXIT_DONE

    def start_driver(self) -> None:
        self.driver = Driver(self.sweep, self.folder, self.machines.address)

    def ended(self, code: int | None) -> None:
        self.codes.append(code)

    def kill_driver(self, kind: str) -> None:
        self.strike(list(self.machines.nodes), kind, loses_node=False)
        with suppress(ProcessLookupError):
            self.driver.signal(signal.SIGKILL)
        self.ended(self.driver.end())

    def node(self, fault: Fault) -> Any:
        """The fault's victim, one that has a trial if there is one."""
        busy = {row["node"] for row in self.under_way().values()}
        nodes = [node for node in self.machines.nodes if node.node_id in busy] or self.machines.nodes
        return nodes[fault.victim % len(nodes)]

    def under_way(self) -> dict[TrialKey, dict[str, Any]]:
        """The last `trial_start` of each trial that has neither ended nor been lost since."""
        found: dict[TrialKey, dict[str, Any]] = {}
        for row in self.driver.events("session_start", "trial_start", *_OVER):
            if row["event"] == "session_start":
                found.clear()
            elif row["event"] == "trial_start":
                found[row["stage"], row["trial"]] = row
            else:
                found.pop((row["stage"], row["trial"]), None)
        return found

    def strike(self, nodes: list[Any], kind: str, noticed: bool = False, loses_node: bool = True) -> None:
        """Take down what is about to be hit."""
        ids = {node.node_id for node in nodes}
        hit = {key: self._tokens(key) for key, row in self.under_way().items() if row["node"] in ids}
        lost = tuple(ids) if loses_node and kind != "false_alarm" else ()
        self.struck.append(Struck(kind, time.time(), lost, hit, noticed))

    def is_lost(self, node: Any) -> bool:
        return any(row["node"] == node.node_id for row in self.driver.events("node_lost"))

    def begun_since(self, moment: float) -> bool:
        return any(row["time"] > moment for row in self.driver.events("trial_start"))

    def left_since(self, struck: Struck) -> bool:
        """Whether no trial is under way on the nodes that were struck."""
        return not any(row["node"] in struck.nodes for row in self.under_way().values())

    @property
    def evaluations(self) -> int:
        """How many evaluations all trials have reported so far."""
        return sum(len(read_jsonl(path)) for path in self.folder.root.glob("*/*/history.jsonl"))

    def _tokens(self, key: TrialKey) -> int:
        return max((row["tokens"] for row in read_jsonl(self.folder.trial(*key).history)), default=0)
