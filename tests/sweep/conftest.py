"""A sweep small enough to train in a second, and what its trials need."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from paramalloc.config import SweepConfig
from paramalloc.data.prepare import prepare
from paramalloc.sweep.machines.workers import Workers
from paramalloc.sweep.trials.work import make_sweep_data
from paramalloc.sweep_file import check_sweep
from tests.sweep.played import PlayedSweep
from tests.sweep.tiny import tiny_with


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of tokenized text for the whole session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session", autouse=True)
def _coarse_figures() -> Iterator[None]:
    """Sweeps that run here leave reports: their pictures may be small, tests/report looks at full ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("paramalloc.report.figures.style.DPI", 50)
        yield


@pytest.fixture(scope="session")
def tiny(cache: Path) -> Callable[..., SweepConfig]:
    """`tiny(training={...})` is the tiny sweep with some sections changed."""

    def make(**changes: Any) -> SweepConfig:
        raw = tiny_with(changes)
        return check_sweep(raw | {"data": {**raw["data"], "cache_dir": str(cache)}})

    return make


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One Ray for all tests that need it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def workers(local_ray: None) -> Iterator[Workers]:
    """Workers of one core each on the session's Ray; a test leaves no job behind, and those that are idle now."""
    workers = Workers(1.0, 0.0)
    yield workers
    workers.close()


@pytest.fixture
def played(tmp_path: Path, tiny: Callable[..., SweepConfig]) -> Callable[..., PlayedSweep]:
    """`played(ranking={...})` is a ranking of the tiny sweep whose trials the test plays."""

    def make(**changes: Any) -> PlayedSweep:
        config = tiny(**changes)
        tokens = prepare(config.data, config.model.vocab_size, lambda text: None)
        data = make_sweep_data({config.model.vocab_size: tokens}, config.model.vocab_size, 2_000)
        return PlayedSweep(config, tmp_path / "results", data)

    return make


@pytest.fixture
def sweep(played: Callable[..., PlayedSweep]) -> PlayedSweep:
    return played()
