"""The trials of a sweep without the sweep: `run_trial` in plain processes, one per slot, and nothing around it.

Always holds: the code that trains, scores and measures is that of a sweep's trial, on one thread; a trial that the
sweep stopped early is stopped at the same evaluation; checkpoints are written as in a sweep, curves for TensorBoard
are not.

    runs, wall_seconds = train_bare(jobs_of(ResultsFolder(Path("results/smoke"))), data, config.evaluation, slots=2)
"""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paramalloc.config import EvaluationConfig, SweepConfig
from paramalloc.data.prepare import prepare_all
from paramalloc.files import read_json
from paramalloc.plan import Plan, make_plan
from paramalloc.results import FINALISTS, ResultsFolder
from paramalloc.sweep.runbook.stages import known_winners
from paramalloc.sweep.trials.tasks import TrialTask
from paramalloc.sweep.trials.work import SweepData, make_sweep_data
from paramalloc.sweep_file import load_sweep


@dataclass(frozen=True)
class BareJob:
    """A trial, and after how many tokens the sweep stopped it (None: it ran to its end)."""

    task: TrialTask
    until_tokens: int | None = None


@dataclass(frozen=True)
class BareRun:
    """What a trial took, in seconds, and the rows of its history."""

    job: BareJob
    seconds: float
    rows: tuple[dict[str, Any], ...]


class _Enough(Exception):
    """Ends a trial where the sweep had stopped it."""


def load_data(plan: Plan) -> SweepData:
    """The text of a plan as a sweep loads it, without probes; built now where it is not in the cache."""
    sizes = dict.fromkeys(item.shape.vocab_size for item in plan.variants)
    token_sets = prepare_all(plan.config.data, sizes)
    return make_sweep_data(token_sets, plan.baseline.shape.vocab_size, plan.config.ranking.eval_interval_tokens)


def jobs_of(folder: ResultsFolder) -> list[BareJob]:
    """What a finished sweep has trained, stage after stage; noise calibration and audits are left out."""
    config = load_sweep(folder.sweep)
    plan = make_plan(config, known_winners(folder))
    jobs = []
    for stage in (*config.stage_names, FINALISTS):
        for trial in folder.trials(stage):
            metrics = read_json(trial.metrics)
            if not metrics["same_run_as"]:
                jobs.append(_job(plan, stage, trial.name, metrics))
    return jobs


def _job(plan: Plan, stage: str, name: str, metrics: dict[str, Any]) -> BareJob:
    item = plan[metrics["variant"]]
    final = stage == FINALISTS
    run = (item.final if final else item.ranking).run(metrics["seed"], metrics["learning_rate"])
    task = TrialTask(stage, name, item.name, run, item.name == plan.baseline.name, keep_best=final)
    return BareJob(task, metrics["tokens"] if metrics["status"] == "killed" else None)


def train_bare(
    jobs: Sequence[BareJob], data: SweepData, evaluation: EvaluationConfig, slots: int
) -> tuple[list[BareRun], float]:
    """Train everything, `slots` at a time; returns the runs in order, and the wall time with the processes' start."""
    began = time.perf_counter()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(slots, context, initializer=_begin, initargs=(data, evaluation)) as pool:
        runs = list(pool.map(_train, jobs))
    return runs, time.perf_counter() - began


_SHARED: dict[str, Any] = {}  # of a worker process: what all of its trials need


def _begin(data: SweepData, evaluation: EvaluationConfig) -> None:
    import torch

    torch.set_num_threads(1)
    _SHARED.update(data=data, evaluation=evaluation)


def _train(job: BareJob) -> BareRun:
    with tempfile.TemporaryDirectory(prefix="paramalloc-") as scratch:
        return train_job(job, _SHARED["data"], _SHARED["evaluation"], Path(scratch))


def train_job(job: BareJob, data: SweepData, evaluation: EvaluationConfig, checkpoints: Path) -> BareRun:
    """Train one trial in this process, with its checkpoints in an empty folder."""
    import torch

    from paramalloc.numerics import choose_numerics
    from paramalloc.sweep.trials.work import run_trial
    from paramalloc.training.checkpoint import CheckpointStore

    rows: list[dict[str, Any]] = []

    def report(payload: dict[str, Any]) -> None:
        if payload["kind"] == "evaluation":
            rows.append(payload["row"])
            if job.until_tokens is not None and payload["row"]["tokens"] >= job.until_tokens:
                raise _Enough

    numerics = choose_numerics(job.task.run.training.precision, torch.device("cpu"))
    began = time.perf_counter()
    with suppress(_Enough):
        run_trial(job.task, data, evaluation, CheckpointStore(checkpoints), numerics, report)
    return BareRun(job, time.perf_counter() - began, tuple(rows))


def whole_ranking(config: SweepConfig, seed: int) -> tuple[Plan, list[BareJob]]:
    """Every variant of a sweep's rankings at its first learning rate, to the end; stages built on the baseline."""
    plan = make_plan(config)
    jobs = []
    for stage in plan.stages:
        for item in stage.variants:
            rate = item.variant.training.learning_rate
            peak = 1e-3 if rate == "auto" else rate[0] if isinstance(rate, tuple) else rate
            run = item.ranking.run(seed, peak)
            is_baseline = item.name == stage.baseline.name
            jobs.append(BareJob(TrialTask(stage.name, item.name, item.name, run, is_baseline, keep_best=False)))
    return plan, jobs
