"""Checks and measurements whose worker dies are done again, and end with a sentence when that goes on."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from paramalloc.config import EvaluationConfig, ResourcesConfig
from paramalloc.errors import UserError
from paramalloc.sweep import side_jobs
from paramalloc.sweep.ray_session import Cluster
from paramalloc.sweep.sanity import Check
from paramalloc.sweep.side_jobs import MAX_LOST_WORKERS, brief, measure_alone, run_checks

HERE = Cluster(cpus=2.0, gpus=0.0, nodes=1, dashboard=None)


def dies(times: int, tally: Path, answer: Any) -> Any:
    """A job whose first `times` workers are killed."""

    def job(*arguments: Any) -> Any:
        with tally.open("a") as stream:
            stream.write("x")
        if tally.stat().st_size <= times:
            os._exit(1)
        return answer

    return job


def test_a_check_whose_worker_died_is_done_again(
    tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_jobs, "try_out", dies(1, tmp_path / "tally", "found"))
    check = cast(Check, SimpleNamespace(name="overfit-base"))
    ((_, outcome),) = run_checks([check], cast(Any, None), ResourcesConfig(), HERE)
    assert outcome == "found"


def test_a_measurement_that_loses_every_worker_ends_with_a_sentence(
    tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_jobs, "profile", dies(100, tmp_path / "tally", None))
    with pytest.raises(UserError, match=f"a worker that was lost {MAX_LOST_WORKERS} times"):
        measure_alone({}, EvaluationConfig(), ResourcesConfig(), HERE)


def test_a_measurement_that_breaks_down_is_not_done_again(
    tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(side_jobs, "profile", broken)
    with pytest.raises(UserError, match="measuring latency and memory: got an error: no such kernel"):
        measure_alone({}, EvaluationConfig(), ResourcesConfig(), HERE)


def test_machines_are_watched_while_a_measurement_goes_on(
    tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job ends only once somebody has ticked."""
    ticked = tmp_path / "ticked"

    def job(*arguments: Any) -> str:
        while not ticked.exists():
            time.sleep(0.01)
        return "measured"

    monkeypatch.setattr(side_jobs, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(side_jobs, "profile", job)
    assert measure_alone({}, EvaluationConfig(), ResourcesConfig(), HERE, tick=ticked.touch) == "measured"


def test_of_rays_long_account_of_a_death_the_sentence_that_says_why_is_kept() -> None:
    account = "The actor died unexpectedly.\n\tclass_name: X\n\tThe actor is dead because its node has died."
    assert brief(RuntimeError(account)) == "The actor is dead because its node has died."
    assert brief(ValueError()) == "ValueError"
