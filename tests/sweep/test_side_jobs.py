"""Checks and measurements are done again when a worker dies, ended when that goes on, or when the money does."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from paramalloc.config import EvaluationConfig
from paramalloc.errors import UserError
from paramalloc.sweep import side_jobs
from paramalloc.sweep.machines.workers import Workers
from paramalloc.sweep.runbook.sanity import Check
from paramalloc.sweep.side_jobs import Measurement, run_checks
from paramalloc.sweep.stopped import BudgetReachedError


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
    tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_jobs, "try_out", dies(1, tmp_path / "tally", "found"))
    check = cast(Check, SimpleNamespace(name="overfit-base"))
    ((_, outcome),) = run_checks([check], cast(Any, None), workers)
    assert outcome == "found"


def test_a_measurement_that_loses_every_worker_ends_with_a_sentence(
    tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_jobs, "step_memory", lambda *_: {})
    monkeypatch.setattr(side_jobs, "profile", dies(100, tmp_path / "tally", None))
    monkeypatch.setattr(side_jobs, "MAX_LOST_WORKERS", 2)
    with pytest.raises(UserError, match="a worker that was lost 2 times"):
        Measurement({}, EvaluationConfig(), workers).finish({})


def test_a_measurement_that_breaks_down_is_not_done_again(
    tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(side_jobs, "step_memory", lambda *_: {})
    monkeypatch.setattr(side_jobs, "profile", broken)
    with pytest.raises(UserError, match="measuring latency and memory: got an error: no such kernel"):
        Measurement({}, EvaluationConfig(), workers).finish({})


def test_machines_are_watched_while_a_measurement_goes_on(
    tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job ends only once somebody has ticked."""
    ticked = tmp_path / "ticked"

    def job(*arguments: Any) -> dict[str, str]:
        while not ticked.exists():
            time.sleep(0.01)
        return {"emb35": "measured"}

    monkeypatch.setattr(side_jobs, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(side_jobs, "step_memory", lambda *_: {})
    monkeypatch.setattr(side_jobs, "profile", job)
    assert Measurement({}, EvaluationConfig(), workers).finish({}, ticked.touch) == {"emb35": "measured"}


def hangs(pids: Path) -> Any:
    """A job that never ends and writes down its process."""

    def job(*arguments: Any) -> None:
        with pids.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        while True:
            time.sleep(0.1)

    return job


def running(pids: Path) -> list[int]:
    """Processes of such jobs that are there."""
    return [pid for pid in map(int, pids.read_text().split() if pids.exists() else []) if is_there(pid)]


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def two_checks(workers: Workers, tick: Callable[[], None]) -> None:
    checks = [cast(Check, SimpleNamespace(name=name)) for name in ("overfit-base", "lr_find-base")]
    list(run_checks(checks, cast(Any, None), workers, tick))


def measurement(workers: Workers, tick: Callable[[], None]) -> None:
    Measurement({}, EvaluationConfig(), workers).finish({}, tick)


@pytest.mark.parametrize(("work", "jobs"), [(two_checks, 2), (measurement, 1)])
def test_the_end_of_the_budget_ends_the_workers_of_what_runs_beside_the_trials(
    work: Callable[..., None], jobs: int, tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"

    def tick() -> None:
        if len(running(pids)) == jobs:
            raise BudgetReachedError("more is needed")

    monkeypatch.setattr(side_jobs, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(side_jobs, "try_out", hangs(pids))
    monkeypatch.setattr(side_jobs, "step_memory", hangs(pids))
    with pytest.raises(BudgetReachedError):
        work(workers, tick)
    wait_until(lambda: not running(pids))


def test_memory_is_measured_before_the_trials_end_where_a_worker_is_free(
    tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever steps the workers for trials has it measured, too; what was found is what the profile is given."""
    found = {"emb35": 12.5}
    measured = tmp_path / "measured"

    def step_memory(*_: Any) -> dict[str, float]:
        measured.touch()
        return found

    monkeypatch.setattr(side_jobs, "step_memory", step_memory)
    monkeypatch.setattr(side_jobs, "profile", lambda runs, evaluation, memory, *_: {"emb35": memory["emb35"]})
    measurement = Measurement({}, EvaluationConfig(), workers)
    while not measured.exists():
        workers.step()
    assert measurement.finish({}) == found


def test_variants_that_do_not_train_at_all_keep_the_others_from_being_measured_no_longer_than_the_final(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a step of one of them fails")

    monkeypatch.setattr(side_jobs, "step_memory", broken)
    monkeypatch.setattr(side_jobs, "profile", lambda runs, evaluation, memory, *_: {"memory": memory})
    assert Measurement({}, EvaluationConfig(), workers).finish({}) == {"memory": None}
