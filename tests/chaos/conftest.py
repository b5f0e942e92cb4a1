"""One cluster and one undisturbed run for all chaos; the figures are printed at the end and written to chaos.json.

`make test` runs two seeds on one smaller sweep, `brief_chaos`, which has a cluster and an undisturbed run of its own.

`make chaos N=50 KILLS=20 TRACES=3` sets `CHAOS_RUNS`, `CHAOS_KILLS`, `CHAOS_TRACES` and `CHAOS_FIGURES`, the file
that the figures go to; `CHAOS_FIRST` is the first seed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from paramalloc.config import SweepConfig
from paramalloc.files import write_json
from paramalloc.results import ResultsFolder
from paramalloc.sweep_file import check_sweep
from tests.chaos.figures import RunFigures, summary, table
from tests.chaos.nodes import Machines
from tests.chaos.plan import Plan
from tests.chaos.run import can_mount, run_plan
from tests.s3_server import S3Server
from tests.sweep.outcomes import numbers
from tests.sweep.tiny import tiny_with

SWEEP = tiny_with(
    {
        "name": "chaos",
        "training": {"tokens": 60_000, "checkpoint_seconds": 0.5},
        "ranking": {
            "tokens": 60_000,
            "eval_interval_tokens": 4_000,
            "kill_rule": {"margin_ppl": 5.0, "window_tokens": 20_000},
        },
        "finalists": {"count": 1, "seeds": [0], "eval_interval_tokens": 6_000},
        "evaluation": {"latency_runs": 100},
        "sanity": {"enabled": False},
        "telemetry": {"tensorboard": False},
        "cost": {"fixed_usd_per_hour": 100.0, "budget_usd": 1e6},  # dear enough for cents to show
    }
)

# Half the work.
BRIEF_SWEEP = SWEEP | {
    "experiments": SWEEP["experiments"][:2],
    "training": SWEEP["training"] | {"tokens": 12_000},
    "ranking": SWEEP["ranking"] | {"eval_interval_tokens": 6_000, "kill_rule": {"enabled": False}},
}


@dataclass
class Chaos:
    """What all runs share."""

    machines: Machines
    s3: S3Server
    config: SweepConfig
    place: Path
    undisturbed: dict[str, Any]
    duration_seconds: float
    may_mount: bool
    runs: list[RunFigures] = field(default_factory=list)

    def run(self, plan: Plan) -> RunFigures:
        if any(fault.kind == "disk_full" for fault in plan.faults) and not self.may_mount:
            pytest.skip("a small disk cannot be mounted by this user")
        place = self.place / f"{len(self.runs)}-{plan.name.replace(' ', '-')}"
        figures = run_plan(plan, self.machines, self.s3, self.config, self.undisturbed, place)
        self.runs.append(figures)
        self.save()
        return figures

    def save(self) -> None:
        if path := os.environ.get("CHAOS_FIGURES"):
            write_json(Path(path), summary(self.runs) | {"each": [run.as_json() for run in self.runs]})


_CHAOS = pytest.StashKey[Chaos]()


@pytest.fixture(scope="session")
def chaos(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Chaos]:
    with _chaos(SWEEP, tmp_path_factory.mktemp("chaos")) as chaos:
        pytestconfig.stash[_CHAOS] = chaos
        yield chaos


@pytest.fixture(scope="module")
def brief_chaos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chaos]:
    with _chaos(BRIEF_SWEEP, tmp_path_factory.mktemp("brief")) as chaos:
        yield chaos


@contextmanager
def _chaos(sweep: dict[str, Any], place: Path) -> Iterator[Chaos]:
    """Machines, and what the sweep comes to on them where nothing befalls it."""
    config = check_sweep({**sweep, "data": {**sweep["data"], "cache_dir": str(place / "cache")}})
    with pytest.MonkeyPatch.context() as patch, S3Server() as s3:
        for name, value in ({"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"} | s3.environment).items():
            patch.setenv(name, value)
        machines = Machines()
        try:
            peace = run_plan(Plan("undisturbed", ()), machines, s3, config, None, place / "undisturbed")
            assert peace.problems == []
            undisturbed = numbers(ResultsFolder(place / "undisturbed" / "results"))
            yield Chaos(machines, s3, config, place, undisturbed, peace.seconds, can_mount(place / "mount"))
        finally:
            machines.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    chaos = config.stash.get(_CHAOS, None)
    if chaos and chaos.runs:
        terminalreporter.section(f"chaos; an undisturbed sweep took {chaos.duration_seconds:.0f} s")
        terminalreporter.write_line(table(chaos.runs))
