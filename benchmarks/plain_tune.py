"""The same trials with Ray Tune used plainly: a function trainable, a grid of trials, and no reuse of workers.

Always holds: it runs in a process of its own, from whose start to whose end it is timed; data go to the trials
through the object store, as `tune.with_parameters` does it; a trial trains, scores and measures, and nothing else.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.bare import BareJob, train_job
from paramalloc.config import EvaluationConfig
from paramalloc.sweep.trials.work import SweepData

_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}


def train_with_plain_tune(
    jobs: Sequence[BareJob], data: SweepData, evaluation: EvaluationConfig, slots: int
) -> float:
    """Wall seconds. Errors: RuntimeError when a trial fails."""
    began = time.perf_counter()
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(jobs, data, evaluation, slots))
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"plain Ray Tune ended with exit code {process.exitcode}")
    return time.perf_counter() - began


def _run(jobs: Sequence[BareJob], data: SweepData, evaluation: EvaluationConfig, slots: int) -> None:
    os.environ.update(_QUIET)
    import ray
    from ray import tune

    ray.init("local", num_cpus=slots, include_dashboard=False, log_to_driver=False)
    trainable = tune.with_parameters(_trial, jobs=list(jobs), data=data, evaluation=evaluation)
    with tempfile.TemporaryDirectory(prefix="paramalloc-") as scratch:
        results = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space={"job": tune.grid_search(list(range(len(jobs))))},
            run_config=tune.RunConfig(storage_path=scratch, verbose=0),
        ).fit()
    ray.shutdown()
    if results.errors:
        raise results.errors[0]


def _trial(config: dict[str, Any], jobs: list[BareJob], data: SweepData, evaluation: EvaluationConfig) -> None:
    import torch
    from ray import tune

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="paramalloc-") as scratch:
        run = train_job(jobs[config["job"]], data, evaluation, Path(scratch))
    tune.report({"seconds": run.seconds})
