"""A trial inside a worker process: a thin shell around `work.run_trial`.

Always holds: before a trial ends it has reported why: it finished, diverged, broke down with a traceback, or was
called back from its machine; a worker that ends without a word was lost. What is to be started anew ends with an
exception, since only that is restarted. The worker uses as many threads as CPUs it was given, and keeps the memory
that a step frees.
"""

from __future__ import annotations

import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
import torch

from paramalloc.config import EvaluationConfig, TelemetryConfig
from paramalloc.evaluation.profile import profile_variants, step_memory_mb
from paramalloc.evaluation.profile.together import Together, train_together
from paramalloc.numerics import Numerics, choose_numerics
from paramalloc.results import ResultsFolder
from paramalloc.storage.checkpoints import open_checkpoints
from paramalloc.sweep.machines.jobs import Report, Shared
from paramalloc.sweep.runbook.gpu_share import try_sharing
from paramalloc.sweep.runbook.sanity import Check
from paramalloc.sweep.trials.recall import STOP_REASON, Recall
from paramalloc.sweep.trials.tasks import TrialTask
from paramalloc.sweep.trials.work import SweepData, run_check, run_trial
from paramalloc.telemetry import Origin, Telemetry, open_telemetry
from paramalloc.training.memory import keep_freed_memory
from paramalloc.training.run import TrainingRun

# Ray may place a trial on a machine that is about to go; it leaves again, but not in a tight loop.
WITHDRAWAL_SECONDS = 5.0


@dataclass(frozen=True)
class StageInput:
    """What every trial of a stage needs."""

    session: str  # of the driver
    tasks: dict[str, TrialTask]
    data: Shared[SweepData]
    evaluation: EvaluationConfig
    telemetry: TelemetryConfig
    origins: dict[str, Origin]
    folder: ResultsFolder
    cpus: float
    gpus: float


class CalledBack(Exception):
    """Ends an attempt whose state is saved, so that the trial is placed anew."""


def train(name: str, shared: Shared[StageInput], send: Report) -> None:
    """Run the trial of that name and `send` its reports (see `work.run_trial`).

    Errors: CalledBack after a report of kind `preempted`; what training raises, after one of kind `failed`.
    """
    stage = shared.get()
    task = stage.tasks[name]
    kinds = []

    def report(payload: dict[str, Any]) -> None:
        kinds.append(payload["kind"])
        if payload["kind"] == "started":
            payload |= _placement(stage.cpus, stage.gpus)
        elif payload["kind"] == "preempted":
            payload |= _who_calls(recall, payload["reason"])
        send(payload)

    _prepare_worker(stage.cpus)
    with Recall(stage.session, f"{task.stage}/{task.name}") as recall:
        if reason := recall.wait_while_called(WITHDRAWAL_SECONDS):
            report({"kind": "preempted", "reason": reason, "step": None, "tokens": None})
        else:
            try:
                _run(task, stage, report, recall)
            except Exception as error:  # the one boundary where a trial's own fault is recorded
                details = {"error": _one_line(error), "place": _place(error), "traceback": traceback.format_exc()}
                report({"kind": "failed", **details})
                raise
    if kinds[-1] == "preempted":
        raise CalledBack


def profile(
    runs: dict[str, TrainingRun],
    evaluation: EvaluationConfig,
    memory: dict[str, float | None] | None,
    cpus: float,
    gpus: float,
) -> dict[str, Any]:
    """`profile_variants` in a worker that holds what a trial holds."""
    return profile_variants(runs, evaluation, _prepare_for(runs, cpus, gpus), memory)


def step_memory(runs: dict[str, TrainingRun], cpus: float, gpus: float) -> dict[str, float | None]:
    """`step_memory_mb` in such a worker."""
    return step_memory_mb(runs, _prepare_for(runs, cpus, gpus))


def _prepare_for(runs: dict[str, TrainingRun], cpus: float, gpus: float) -> Numerics:
    _prepare_worker(cpus)
    precision = next(iter(runs.values())).training.precision
    return choose_numerics(precision, _device(gpus))


def share(run: TrainingRun, most: int, cpus: float, gpus: float) -> list[Together]:
    """How fast the run trains alone and beside others like it, in a worker that holds a GPU alone.

    `most`: at a time, if the machine has as many times the cores that a trial holds. Where Ray counts a GPU that
    torch cannot use, only one is tried.
    """
    _prepare_worker(cpus)
    numerics = choose_numerics(run.training.precision, _device(gpus))
    at_most = min(most, int(_resources()["CPU"] // cpus)) if numerics.device.type == "cuda" else 1
    return try_sharing(lambda trials: train_together(run, numerics, trials), at_most)


@dataclass(frozen=True)
class CheckOutcome:
    """What a check found, as JSON with `passed` and `message`, and where and when (Unix seconds) it ran."""

    result: dict[str, Any]
    node: str
    share: float
    began: float
    ended: float


def try_out(check: Check, data: Shared[SweepData], cpus: float, gpus: float) -> CheckOutcome:
    """`work.run_check` in a worker that holds what a trial holds; what it raises is a finding."""
    _prepare_worker(cpus)
    began = time.time()
    try:
        numerics = choose_numerics(check.run.training.precision, _device(gpus))
        result = run_check(check, data.get(), numerics)
    except Exception as error:  # as for a trial: its own fault is recorded, not raised here
        problem = f"{check.variant}: {_one_line(error)}"
        result = {"passed": False, "message": problem, "traceback": traceback.format_exc()}
    return CheckOutcome(result, **_placement(cpus, gpus), began=began, ended=time.time())


def _prepare_worker(cpus: float) -> None:
    """What this process computes with; where its C library is not glibc, it only trains a little slower."""
    torch.set_num_threads(max(1, int(cpus)))
    keep_freed_memory()


def _one_line(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]


def _place(error: BaseException) -> str:
    """Where it was raised: `loop.py:123 in take_step`."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}"


def _device(gpus: float) -> torch.device:
    return torch.device("cuda" if gpus and torch.cuda.is_available() else "cpu")


def _run(task: TrialTask, stage: StageInput, report: Report, recall: Recall) -> None:
    numerics = choose_numerics(task.run.training.precision, _device(stage.gpus))
    folder = stage.folder.trial(task.stage, task.name)

    def notify(text: str) -> None:
        report({"kind": "note", "text": text})

    def open_curves(step: int) -> Telemetry:
        origin = stage.origins[task.name]
        return open_telemetry(stage.telemetry, folder, origin, step, numerics.device, notify)

    checkpoints = open_checkpoints(folder, notify)
    run_trial(task, stage.data.get(), stage.evaluation, checkpoints, numerics, report, open_curves, recall.reason)


def _who_calls(recall: Recall, reason: str) -> dict[str, Any]:
    """What the driver wants to know of a call: whether the machine goes, and when."""
    notice = None if reason == STOP_REASON else recall.notice()
    node = ray.get_runtime_context().get_node_id()
    return {"by_notice": reason != STOP_REASON, "notice": asdict(notice) if notice else None, "node": node}


def _placement(cpus: float, gpus: float) -> dict[str, Any]:
    """The Ray node this worker is on, and which share of it is held."""
    resources = _resources()
    share = gpus / resources["GPU"] if gpus else cpus / resources["CPU"]
    return {"node": ray.get_runtime_context().get_node_id(), "share": min(1.0, share)}


def _resources() -> dict[str, float]:
    """What this worker's node has of each."""
    node_id = ray.get_runtime_context().get_node_id()
    found: dict[str, float] = next(node["Resources"] for node in ray.nodes() if node["NodeID"] == node_id)
    return found
