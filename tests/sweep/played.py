"""A ranking whose trials are played by the test, without Ray: what they report, and what is on disk then."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from benchmarks.played_trials import evaluation, finished
from cost import ledger
from paramalloc.config import SweepConfig
from paramalloc.files import read_json, read_jsonl
from paramalloc.plan import make_plan
from paramalloc.results import RANKING, ResultsFolder
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.rules.stopping import rule_for
from paramalloc.sweep.trials.tasks import ranking_tasks
from paramalloc.sweep.trials.work import SweepData
from tests.sweep.tiny import STARTED, VERSIONS

FAILED = {"kind": "failed", "error": "ValueError: no", "place": "loop.py:7 in step", "traceback": "Traceback: no"}
NODE = {"node": "n1", "kind": "head", "gpus": 0.0, "cpus": 2.0}


class PlayedSweep:
    """A stage whose trials are played by the test; `again()` is a new driver on the same files."""

    def __init__(self, config: SweepConfig, root: Path, data: SweepData) -> None:
        self.config, self.folder, self.data = config, ResultsFolder(root), data
        self.clock = itertools.count(1_000_000.0, 1.0)
        self.said: list[str] = []
        self.again()

    def again(self, retry_failed: bool = False) -> None:
        self.journal = Journal(self.folder, self.config.cost, self.said.append, clock=lambda: next(self.clock))
        self.journal.bill(ledger.node_up, **NODE)
        plan = make_plan(self.config)
        tasks = ranking_tasks(plan.stages[0], {})
        self.recorder = StageRecorder(
            self.folder,
            plan,
            tasks,
            self.data,
            self.journal,
            rule_for(self.config, tasks),
            VERSIONS,
            retry_failed=retry_failed,
        )

    def begin(self, trial: str, **changes: Any) -> bool:
        return self.recorder.receive(trial, STARTED | changes)

    def evaluate(self, trial: str, tokens: int, ppl: float) -> bool:
        return self.recorder.receive(trial, evaluation(tokens, ppl))

    def finish(self, trial: str) -> bool:
        return self.recorder.receive(trial, finished(9.0))

    def metrics(self, trial: str) -> dict[str, Any]:
        return read_json(self.folder.trial(RANKING, trial).metrics)

    def fail(self, trial: str, **changes: Any) -> bool:
        """It breaks down, is started again, and breaks down in the same way."""
        self.recorder.receive(trial, FAILED | changes)
        self.recorder.lost(trial, "its own error", set())
        self.begin(trial)
        return self.recorder.receive(trial, FAILED | changes)

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [entry for entry in read_jsonl(self.folder.events) if entry["event"] == kind]

    def history(self, trial: str) -> list[int]:
        return [entry["tokens"] for entry in read_jsonl(self.folder.trial(RANKING, trial).history)]

    def kills(self) -> list[str]:
        return [entry["trial"] for entry in read_jsonl(self.folder.decisions) if entry["decision"] == "kill"]


POINTS = range(2_000, 14_000, 2_000)


def play(sweep: PlayedSweep, trial: str, ppl: float, points: range = POINTS) -> list[bool]:
    return [sweep.evaluate(trial, tokens, ppl) for tokens in points]
