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
from paramalloc.sweep_file import check_sweep

TINY = {
    "name": "tiny",
    "data": {"corpus": "synthetic", "synthetic_bytes": 200_000},
    "model": {"total_params": 100_000, "vocab_size": 600, "context_length": 32},
    "experiments": [
        {"name": "base"},
        {"name": "wide", "glu_expansion": 4.0},
        {"name": "slow", "learning_rate": 1e-5},
    ],
    "training": {"tokens": 16_000, "batch_size": 4, "learning_rate": 6e-3, "checkpoint_seconds": 0.2},
    "ranking": {
        "tokens": 12_000,
        "eval_interval_tokens": 2_000,
        "kill_rule": {"margin_ppl": 5.0, "window_tokens": 4_000},
    },
    "finalists": {"count": 1, "seeds": [0, 1], "eval_interval_tokens": 4_000},
    "evaluation": {"latency_runs": 3},
}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of tokenized text for the whole session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny(cache: Path) -> Callable[..., SweepConfig]:
    """`tiny(training={...})` is the tiny sweep with some sections changed."""

    def make(**changes: Any) -> SweepConfig:
        raw = {**TINY, "data": {**TINY["data"], "cache_dir": str(cache)}}
        for section, values in changes.items():
            raw[section] = {**raw.get(section, {}), **values} if isinstance(values, dict) else values
        return check_sweep(raw)

    return make


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One Ray for all tests that need it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()
