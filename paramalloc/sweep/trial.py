"""The Ray Tune trainable: a thin shell around `work.run_trial` inside a worker process.

Always holds: a trial's own exception becomes a report, so that Ray retries lost machines only and never a bug; the
worker uses as many threads as CPUs it was given.
"""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from paramalloc.config import EvaluationConfig, TelemetryConfig
from paramalloc.evaluation.profile import profile_variants
from paramalloc.numerics import choose_numerics
from paramalloc.results import ResultsFolder
from paramalloc.sweep.sanity import Check
from paramalloc.sweep.tasks import TrialTask
from paramalloc.sweep.work import SweepData, run_check, run_trial
from paramalloc.telemetry import Origin, Telemetry, open_telemetry
from paramalloc.training.checkpoint import CheckpointStore
from paramalloc.training.run import TrainingRun


@dataclass(frozen=True)
class StageInput:
    """What every trial of a stage needs; it travels through the object store, its arrays without a copy."""

    tasks: dict[str, TrialTask]
    data: SweepData
    evaluation: EvaluationConfig
    telemetry: TelemetryConfig
    origins: dict[str, Origin]
    results: Path
    cpus: float
    gpus: float


def train(config: dict[str, Any], stage: StageInput) -> None:
    """Run the trial named by `config["trial"]`; every report is `{"trial": name, "payload": {...}}`."""
    name = config["trial"]

    def report(payload: dict[str, Any]) -> None:
        if payload["kind"] == "started":
            payload |= _placement(stage.cpus, stage.gpus)
        tune.report({"trial": name, "payload": payload})

    torch.set_num_threads(max(1, int(stage.cpus)))
    try:
        _run(stage.tasks[name], stage, report)
    except Exception as error:  # the one boundary where a trial's own fault is recorded
        report({"kind": "failed", "error": _one_line(error), "traceback": traceback.format_exc()})


def profile(runs: dict[str, TrainingRun], evaluation: EvaluationConfig, cpus: float, gpus: float) -> dict[str, Any]:
    """`work.profile_variants` in a worker that holds what a trial holds."""
    torch.set_num_threads(max(1, int(cpus)))
    precision = next(iter(runs.values())).training.precision
    return profile_variants(runs, evaluation, choose_numerics(precision, _device(gpus)))


@dataclass(frozen=True)
class CheckOutcome:
    """What a check found, as JSON with `passed` and `message`, and where and when (Unix seconds) it ran."""

    result: dict[str, Any]
    node: str
    share: float
    began: float
    ended: float


def try_out(check: Check, data: SweepData, cpus: float, gpus: float) -> CheckOutcome:
    """`work.run_check` in a worker that holds what a trial holds; what it raises is a finding."""
    torch.set_num_threads(max(1, int(cpus)))
    began = time.time()
    try:
        numerics = choose_numerics(check.run.training.precision, _device(gpus))
        result = run_check(check, data, numerics)
    except Exception as error:  # as for a trial: its own fault is recorded, not raised here
        problem = f"{check.variant}: {_one_line(error)}"
        result = {"passed": False, "message": problem, "traceback": traceback.format_exc()}
    return CheckOutcome(result, **_placement(cpus, gpus), began=began, ended=time.time())


def _one_line(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]


def _device(gpus: float) -> torch.device:
    return torch.device("cuda" if gpus and torch.cuda.is_available() else "cpu")


def _run(task: TrialTask, stage: StageInput, report: Any) -> None:
    numerics = choose_numerics(task.run.training.precision, _device(stage.gpus))
    folder = ResultsFolder(stage.results).trial(task.stage, task.name)
    checkpoints = CheckpointStore(folder.checkpoints)

    def open_curves(step: int) -> Telemetry:
        origin = stage.origins[task.name]
        return open_telemetry(stage.telemetry, folder, origin, step, numerics.device, notify)

    def notify(text: str) -> None:
        report({"kind": "note", "text": text})

    run_trial(task, stage.data, stage.evaluation, checkpoints, numerics, report, open_curves)


def _placement(cpus: float, gpus: float) -> dict[str, Any]:
    """The Ray node this worker is on, and which share of it is held."""
    node_id = ray.get_runtime_context().get_node_id()
    resources = next(node["Resources"] for node in ray.nodes() if node["NodeID"] == node_id)
    share = gpus / resources["GPU"] if gpus else cpus / resources["CPU"]
    return {"node": node_id, "share": min(1.0, share)}
