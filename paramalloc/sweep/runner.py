"""Running a stage's trials with Ray Tune.

Always holds: Ray schedules and restarts, `StageControl` and the recorder decide and remember; nothing is read back
from Ray's own experiment files, so a new driver needs only the results folder. Tune is told to restart whatever
fails, for ever: what was a trial's own fault, and when it is enough, is for the recorder to say.
"""

from __future__ import annotations

import pickle
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from ray import tune
from ray.exceptions import ActorUnavailableError, RayTaskError
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from paramalloc.errors import UserError
from paramalloc.sweep.budget import BudgetGuard
from paramalloc.sweep.machines.nodes import NodeWatch
from paramalloc.sweep.machines.ray_session import Cluster
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.side_jobs import brief
from paramalloc.sweep.stage_control import StageControl
from paramalloc.sweep.trials.recall import forget, request_stop
from paramalloc.sweep.trials.trial import StageInput, train
from paramalloc.sweep.trials.work import SweepData
from paramalloc.sweep.watchdog import Watchdog


def run_stage(
    recorder: StageRecorder,
    names: list[str],
    data: SweepData,
    cluster: Cluster,
    nodes: NodeWatch,
    guard: BudgetGuard,
    watchdog: Watchdog | None = None,
) -> None:
    """Train what the stage is missing; returns early when the recorder is `hopeless`, or for the budget's sake.

    Args:
        names: of those trials, the ones that the guard has admitted.
    Errors: KeyboardInterrupt after Ctrl-C; UserError when Ray ends without a result of some trial.
    """
    _keep_credentials_here()
    stage = _stage_input(recorder, data, cluster)
    workers = _Workers()
    control = StageControl(
        recorder,
        nodes,
        watchdog or Watchdog(recorder.plan.config.resources.silence_seconds),
        guard,
        stage.cpus,
        stage.gpus,
        request_stop=lambda: request_stop(stage.session),
        kill=workers.kill,
    )
    trainable = tune.with_resources(
        tune.with_parameters(train, stage=stage), tune.PlacementGroupFactory([{"CPU": stage.cpus, "GPU": stage.gpus}])
    )
    try:
        with tempfile.TemporaryDirectory(prefix="paramalloc-") as scratch, _one_gentle_interrupt(control):
            tune.Tuner(
                trainable,
                param_space={"trial": tune.grid_search(names)},
                tune_config=tune.TuneConfig(reuse_actors=True, scheduler=RecorderScheduler(recorder, guard)),
                run_config=tune.RunConfig(
                    name=recorder.missing[0].stage,
                    storage_path=scratch,
                    stop=ControlStopper(control, workers),
                    callbacks=[ControlCallback(control, workers)],
                    failure_config=tune.FailureConfig(max_failures=-1),
                    verbose=0,
                ),
            ).fit()
    finally:
        forget(stage.session)
    for task in recorder.missing:
        recorder.interrupted(task.name)
    if control.interrupted:
        raise KeyboardInterrupt
    held = guard.spent_up or guard.withheld
    if recorder.missing and not recorder.hopeless and not held:
        names = [task.name for task in recorder.missing]
        got = f"an end without a result of {', '.join(names)}"
        raise UserError("Ray", got, "run the same command again, with -v to see more")


def _keep_credentials_here() -> None:
    """Tune would send the driver's AWS keys with each trial, and Ray's runtime-env agent would log them (Ray 2.60).

    Every node has what it needs: a role, or what its Ray was started with.
    """
    names = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {name for name in names if not name.startswith("AWS_")}


def _stage_input(recorder: StageRecorder, data: SweepData, cluster: Cluster) -> StageInput:
    tasks, config = recorder.missing, recorder.plan.config
    return StageInput(
        session=recorder.journal.session,
        tasks={task.name: task for task in tasks},
        data=data,
        evaluation=config.evaluation,
        telemetry=config.telemetry,
        origins={task.name: recorder.origin(task) for task in tasks},
        folder=replace(recorder.folder, root=recorder.folder.root.resolve()),
        cpus=config.resources.cpus_per_trial,
        gpus=cluster.gpus_per_trial(config.resources),
    )


@contextmanager
def _one_gentle_interrupt(control: StageControl) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) lets trials save and leave; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python gives signals to the main thread alone
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.getsignal(number) for number in signals}

    def interrupt(number: int, frame: FrameType | None) -> None:
        control.interrupted = True
        for each in signals:
            signal.signal(each, signal.SIG_DFL)

    for number in signals:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _KeptOutOfSnapshots:
    """Tune pickles what it is given into snapshots that nobody reads; our state lives in the results folder."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()


class _Workers:
    """Tune's trials by our names, to end a worker that no longer answers."""

    def __init__(self) -> None:
        self.trials: dict[str, Trial] = {}

    def kill(self, name: str) -> None:
        """End the trial's worker; Tune then sees it as lost."""
        actor = self.trials[name].temporary_state.ray_actor if name in self.trials else None
        if actor is not None:
            ray.kill(actor)

    def kill_all_busy(self) -> None:
        """End every worker that has a trial: Tune would wait for one that starts up, or is deep in a step."""
        for name, trial in self.trials.items():
            if trial.status == Trial.RUNNING:
                self.kill(name)


class ControlStopper(_KeptOutOfSnapshots, tune.Stopper):
    """Hands every report to the control, and stops whom it has decided on."""

    def __init__(self, control: StageControl, workers: _Workers) -> None:
        self.control, self.workers = control, workers

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return "payload" in result and self.control.receive(result["trial"], result["payload"])

    def stop_all(self) -> bool:
        """Asked by Tune about ten times a second, so it is also our clock."""
        over = self.control.tick()
        if over:
            self.workers.kill_all_busy()
        return over


class ControlCallback(_KeptOutOfSnapshots, tune.Callback):
    """Tells the control when a trial gets a worker and when it has lost it."""

    def __init__(self, control: StageControl, workers: _Workers) -> None:
        self.control, self.workers = control, workers

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self.workers.trials = {trial.config["trial"]: trial for trial in trials}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.control.began(trial.config["trial"])

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.control.ended(trial.config["trial"])

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.control.lost(trial.config["trial"], _cause(trial))


def _cause(trial: Trial) -> str:
    """Why Tune saw the trial's worker fail, in words; the error lies in Tune's scratch folder."""
    path = trial.pickled_error_file
    try:
        error = pickle.loads(Path(path).read_bytes()) if path else None
    except (OSError, pickle.PickleError):
        error = None
    if isinstance(error, ActorUnavailableError):
        return "it does not answer any more"
    return brief(error.cause if isinstance(error, RayTaskError) else error) if error else "no reason is known"


class RecorderScheduler(_KeptOutOfSnapshots, FIFOScheduler):
    """First come, first served; a worker that is free goes to what was begun first.

    What is over is let go, and so is what may not start for the budget's sake.
    """

    def __init__(self, recorder: StageRecorder, guard: BudgetGuard) -> None:
        super().__init__()
        self.recorder, self.guard = recorder, guard

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        for trial in list(tune_controller.get_trials()):
            name = trial.config["trial"]
            withheld = name in self.guard.withheld and trial.status == Trial.PENDING
            if withheld or (self.recorder.trials[name].done and not trial.is_finished()):
                tune_controller.stop_trial(trial)
        waiting = [trial for trial in tune_controller.get_trials() if trial.status == Trial.PENDING]
        return min(waiting, key=lambda trial: self.recorder.trials[trial.config["trial"]].place_in_line, default=None)
