"""The sweep's driver on a virtual clock: its real recorder, rule, ledger, guard, node watch, control and display.

Always holds: the clock goes on by what the driver takes of the processor, so a driver that is too slow falls behind,
as it would; machines are what the caller says.
"""

from __future__ import annotations

import io
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from cluster import Notice
from cluster.notice import NodeRecord
from paramalloc.config import SweepConfig
from paramalloc.data.prepare import prepare
from paramalloc.files import atomic_write, write_json
from paramalloc.plan import CorpusSize, Plan, plan_as_json
from paramalloc.results import RANKING, ResultsFolder
from paramalloc.sweep.budget import BudgetGuard
from paramalloc.sweep.display import Display
from paramalloc.sweep.gauges import readings
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.machines.nodes import Node, NodeWatch
from paramalloc.sweep.outlook import look_ahead
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.rules.stopping import rule_for
from paramalloc.sweep.stage_control import StageControl
from paramalloc.sweep.trials.tasks import ranking_tasks
from paramalloc.sweep.trials.work import SweepData, make_sweep_data
from paramalloc.sweep.watchdog import Watchdog
from paramalloc.sweep_file import check_sweep, dump_sweep

START = 1_700_000_000.0  # Unix seconds
NOTICE_SECONDS = 2.0  # two minutes, sixty times as fast
RATES = 5  # learning rates of each variant
EVALUATIONS = 10
BATCH_TOKENS = 128
TRIAL_TOKENS = EVALUATIONS * 10 * BATCH_TOKENS
INSTANCE_TYPE = "g5.xlarge"
NO_VERSIONS: dict[str, str | None] = {"git_sha": None, "torch_version": None, "ray_version": None}


@dataclass
class Clock:
    """Seconds since the start: those of the events that have happened, and those that the driver itself took."""

    now: float = 0.0
    busy_seconds: float = 0.0
    samples: dict[str, list[float]] = field(default_factory=dict)

    def unix(self) -> float:
        return START + self.now + self._since()

    def monotonic(self) -> float:
        return self.now + self._since()

    _began: float | None = None

    def _since(self) -> float:
        return time.process_time() - self._began if self._began is not None else 0.0

    def total(self, what: str) -> float:
        return sum(self.samples.get(what, []))

    def mean(self, what: str) -> float:
        """Seconds."""
        return self.total(what) / max(1, len(self.samples.get(what, [])))

    @contextmanager
    def driver(self, what: str) -> Iterator[None]:
        """The driver works; so long the world goes on."""
        self._began = time.process_time()
        try:
            yield
        finally:
            took = time.process_time() - self._began
            self._began = None
            self.now += took
            self.busy_seconds += took
            self.samples.setdefault(what, []).append(took)


def sweep_config(trials: int, cache: Path) -> SweepConfig:
    """A sweep with that many rankings: variants of one shape and several learning rates each."""
    return check_sweep(
        {
            "name": "growth",
            "data": {"corpus": "synthetic", "synthetic_bytes": 200_000, "cache_dir": str(cache)},
            "model": {"total_params": 100_000, "vocab_size": 600, "context_length": 32},
            "experiments": [
                {"name": "base" if not number else f"v{number}", "weight_decay": round(0.1 + number / 1e5, 5)}
                for number in range(max(2, trials // RATES))
            ],
            "baseline": "base",
            "training": {
                "tokens": TRIAL_TOKENS,
                "batch_size": 4,
                "learning_rate": [round(1e-3 * 2**step, 6) for step in range(RATES)],
            },
            "ranking": {
                "tokens": TRIAL_TOKENS,
                "eval_interval_tokens": TRIAL_TOKENS // EVALUATIONS,
                "kill_rule": {"margin_ppl": 1.0, "window_tokens": 3 * TRIAL_TOKENS // EVALUATIONS},
            },
            "finalists": {"count": 1, "seeds": [0]},
            "cost": {"budget_usd": 1e9},
        }
    )


def sweep_data(config: SweepConfig) -> SweepData:
    vocab = config.model.vocab_size
    tokens = prepare(config.data, vocab, lambda text: None)
    return make_sweep_data({vocab: tokens}, vocab, config.ranking.eval_interval_tokens)


class Machines:
    """The machines that are there, as Ray and the node agents would tell of them."""

    def __init__(self, slots: int, zones: list[str]) -> None:
        self.slots, self.zones = slots, zones
        self.nodes: dict[str, Node] = {"head": Node("head", True, 0.0, 0.0)}
        self.records: dict[str, NodeRecord] = {"head": NodeRecord(lifecycle=None)}
        self.gone: dict[str, int] = {}

    def add(self, name: str, place: int, launched: float | None) -> None:
        self.nodes[name] = Node(name, False, float(self.slots), 0.0)
        zone = self.zones[place % len(self.zones)]
        rented = NodeRecord(None, INSTANCE_TYPE, zone, "spot", launched)
        self.records[name] = NodeRecord() if launched is None else rented

    def notice(self, name: str, now: float) -> None:
        self.records[name] = replace(self.records[name], notice=Notice("terminate", now + NOTICE_SECONDS, now))

    def remove(self, name: str) -> None:
        del self.nodes[name]
        self.gone[name] = 0


class Driver:
    """One session of the sweep's driver on a results folder."""

    def __init__(self, plan: Plan, data: SweepData, folder: ResultsFolder, clock: Clock, machines: Machines) -> None:
        console = Console(file=io.StringIO(), width=100)
        self.display = Display(console, clock.monotonic)
        self.journal = Journal(folder, plan.config.cost, self.display.say, clock.unix)
        tasks = ranking_tasks(plan.stages[0], {})
        rule, changed = rule_for(plan.config, tasks), self.display.refresh
        self.recorder = StageRecorder(folder, plan, tasks, data, self.journal, rule, NO_VERSIONS, changed)
        self.journal.look_ahead = lambda: look_ahead(plan, self.recorder.trials.values(), {RANKING})
        self.guard = BudgetGuard(self.journal, clock.monotonic)
        nodes = NodeWatch(
            self.journal,
            agents=True,
            look=lambda: machines.nodes,
            records=lambda: machines.records,
            reasons=lambda: machines.gone,
            clock=clock.monotonic,
            beat=self._read_gauges,
        )
        self.control = StageControl(
            self.recorder,
            nodes,
            Watchdog(plan.config.resources.silence_seconds, clock=clock.monotonic),
            self.guard,
            *(1.0, 0.0),
            request_stop=lambda: None,
            kill=lambda trial: None,
            clock=clock.monotonic,
        )
        self.display.show(self.recorder)

    def _read_gauges(self, nodes: Collection[str]) -> None:
        """As for Ray's metrics port; showing them there takes a Ray."""
        readings(self.journal.newest, nodes, self.recorder.trials.values(), self.journal.preemptions())


def write_plan(plan: Plan, data: SweepData, folder: ResultsFolder) -> None:
    """What the driver writes before its first stage."""
    atomic_write(folder.sweep, dump_sweep(plan.config))
    sizes = {vocab: len(tokens.train) for vocab, tokens in data.token_sets.items()}
    about = {"corpus_fingerprint": "played", "estimate": None}
    write_json(folder.plan, plan_as_json(plan, CorpusSize(sizes, estimated=False)) | about)
