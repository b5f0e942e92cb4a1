"""Running a stage's trials with Ray Tune, on this machine or on the cluster that `RAY_ADDRESS` names.

Always holds: Ray schedules and restarts, the recorder decides and remembers; nothing is read back from Ray's own
experiment files, so a new driver needs only the results folder. On one machine nothing listens beyond loopback.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import ray
import torch
from ray import tune
from ray._private import ray_constants

from cost import ledger
from paramalloc.config import EvaluationConfig, ResourcesConfig
from paramalloc.errors import UserError
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.sanity import Check
from paramalloc.sweep.trial import CheckOutcome, StageInput, profile, train, try_out
from paramalloc.sweep.work import SweepData
from paramalloc.training.run import TrainingRun

HEARTBEAT_SECONDS = 15.0
MAX_LOST_WORKERS = 10  # per trial: out-of-memory kills look like lost machines and must not go on forever

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}


@dataclass(frozen=True)
class Cluster:
    """What Ray offers: totals over all nodes, and the dashboard's address (None when there is none)."""

    cpus: float
    gpus: float
    nodes: int
    dashboard: str | None

    def gpus_per_trial(self, resources: ResourcesConfig) -> float:
        if resources.gpus_per_trial != "auto":
            return resources.gpus_per_trial
        return 1.0 if self.gpus else 0.0


@contextmanager
def ray_session(verbose: bool) -> Iterator[Cluster]:
    """A local Ray on loopback, or the cluster of `RAY_ADDRESS`; a Ray that is already up is used and left alone."""
    os.environ.update({key: value for key, value in _QUIET.items() if key not in os.environ})
    ours = not ray.is_initialized()
    if ours:
        _init(verbose)
    # Tune logs each lost worker with a stack of its own; the recorder says it in one line.
    logging.getLogger("ray.tune").setLevel(logging.INFO if verbose else logging.CRITICAL)
    try:
        yield _describe_cluster()
    finally:
        if ours:
            ray.shutdown()


def _init(verbose: bool) -> None:
    common: dict[str, Any] = {
        "log_to_driver": verbose,
        "logging_level": logging.INFO if verbose else logging.ERROR,
    }
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        # Ray turns 127.0.0.1 into the machine's outward address, and then listens on all of them, unless it
        # believes that this platform has no clusters; there is no public switch for it (Ray 2.60).
        ray_constants.ENABLE_RAY_CLUSTER = False
        try:
            ray.init(include_dashboard=True, dashboard_host="127.0.0.1", **common)
        except (RuntimeError, TimeoutError) as error:
            raise UserError("Ray", f"no start on this machine ({error})", "try again with -v") from error
        return
    try:
        ray.init(address=address, **common)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            "RAY_ADDRESS", f"'{address}', where no Ray answers ({error})", "start it, or unset RAY_ADDRESS"
        ) from error


def _describe_cluster() -> Cluster:
    resources = ray.cluster_resources()
    alive = [node for node in ray.nodes() if node["Alive"]]
    dashboard = ray._private.worker.get_dashboard_url()
    return Cluster(resources.get("CPU", 0), resources.get("GPU", 0), len(alive), dashboard)


def run_stage(
    recorder: StageRecorder,
    data: SweepData,
    cluster: Cluster,
    watch: NodeWatch,
) -> None:
    """Train what the stage is missing, which must be something.

    Errors: KeyboardInterrupt after Ctrl-C; UserError when Ray ends without a result of some trial.
    """
    tasks, config = recorder.missing, recorder.plan.config
    cpus, gpus = config.resources.cpus_per_trial, cluster.gpus_per_trial(config.resources)
    stage = StageInput(
        tasks={task.name: task for task in tasks},
        data=data,
        evaluation=config.evaluation,
        telemetry=config.telemetry,
        origins={task.name: recorder.origin(task) for task in tasks},
        results=recorder.folder.root.resolve(),
        cpus=cpus,
        gpus=gpus,
    )
    stopper = RecorderStopper(recorder, watch)
    trainable = tune.with_resources(
        tune.with_parameters(train, stage=stage), tune.PlacementGroupFactory([{"CPU": cpus, "GPU": gpus}])
    )
    with tempfile.TemporaryDirectory(prefix="paramalloc-") as scratch, _one_gentle_interrupt(stopper):
        tune.Tuner(
            trainable,
            param_space={"trial": tune.grid_search([task.name for task in tasks])},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                name=tasks[0].stage,
                storage_path=scratch,
                stop=stopper,
                callbacks=[RecorderCallback(recorder)],
                failure_config=tune.FailureConfig(max_failures=MAX_LOST_WORKERS),
                verbose=0,
            ),
        ).fit()
    for task in recorder.missing:
        recorder.interrupted(task.name)
    if stopper.interrupted:
        raise KeyboardInterrupt
    if recorder.missing and not recorder.hopeless:
        names = ", ".join(task.name for task in recorder.missing)
        raise UserError(
            "Ray", f"an end without a result of {names}", "run the same command again, with -v to see more"
        )


def run_checks(
    checks: Sequence[Check], data: SweepData, resources: ResourcesConfig, cluster: Cluster
) -> Iterator[tuple[Check, CheckOutcome]]:
    """Each check with its outcome as soon as it has one; they run side by side, each with what a trial holds."""
    cpus, gpus = resources.cpus_per_trial, cluster.gpus_per_trial(resources)
    worker, shared = ray.remote(num_cpus=cpus, num_gpus=gpus)(try_out), ray.put(data)
    running = {worker.remote(check, shared, cpus, gpus): check for check in checks}
    while running:
        (ready,), _ = ray.wait(list(running), num_returns=1)
        yield running.pop(ready), ray.get(ready)


def measure_alone(
    runs: dict[str, TrainingRun], evaluation: EvaluationConfig, resources: ResourcesConfig, cluster: Cluster
) -> dict[str, Any]:
    """Latency and memory of variants in a worker of their own, to be called while no trial runs."""
    cpus, gpus = resources.cpus_per_trial, cluster.gpus_per_trial(resources)
    worker = ray.remote(num_cpus=cpus, num_gpus=gpus)(profile)
    return ray.get(worker.remote(runs, evaluation, cpus, gpus))


def require_room(resources: ResourcesConfig) -> None:
    """Errors: UserError when a trial asks for more than this machine has; a cluster is asked when it is there."""
    if os.environ.get("RAY_ADDRESS"):
        return
    gpus = 0.0 if resources.gpus_per_trial == "auto" else resources.gpus_per_trial
    there = {"cpus": os.cpu_count() or 1, "gpus": torch.cuda.device_count()}
    for name, wanted in (("cpus", resources.cpus_per_trial), ("gpus", gpus)):
        if wanted > there[name]:
            raise UserError(
                f"resources.{name}_per_trial", f"{wanted:g}", f"allowed on this machine: at most {there[name]}"
            )


@contextmanager
def _one_gentle_interrupt(stopper: RecorderStopper) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) lets Tune stop its trials; a second one ends the process at once."""
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.getsignal(number) for number in signals}

    def interrupt(number: int, frame: FrameType | None) -> None:
        stopper.interrupted = True
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


class RecorderStopper(_KeptOutOfSnapshots, tune.Stopper):
    """Hands every report to the recorder, which judges it, and stops whom the recorder has decided on."""

    def __init__(self, recorder: StageRecorder, watch: NodeWatch) -> None:
        self.recorder, self.watch = recorder, watch
        self.interrupted = False
        self._announced = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return "payload" in result and self.recorder.receive(result["trial"], result["payload"])

    def stop_all(self) -> bool:
        """Asked by Tune about ten times a second, so it is also our clock."""
        self.watch.tick()
        if self.interrupted and not self._announced:
            self._announced = True
            self.recorder.journal.say("stopping; once more to stop at once")
        return self.interrupted or self.recorder.hopeless


class RecorderCallback(_KeptOutOfSnapshots, tune.Callback):
    """Tells the recorder when a trial's process is gone."""

    def __init__(self, recorder: StageRecorder) -> None:
        self.recorder = recorder

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.recorder.ended(trial.config["trial"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        problem = f"its worker was lost {MAX_LOST_WORKERS + 1} times"
        if trial.error_file and Path(trial.error_file).exists():
            problem += f"; the last time: {Path(trial.error_file).read_text(encoding='utf-8').strip()}"
        self.recorder.ended(trial.config["trial"], problem)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.recorder.interrupted(trial.config["trial"])


class NodeWatch:
    """Writes down which nodes are there, a heartbeat, and the bill so far; `tick` is cheap between heartbeats."""

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.monotonic) -> None:
        self.journal, self.clock = journal, clock
        self._known: set[str] = set()
        self._next = clock()
        self.tick()

    def tick(self) -> None:
        if self.clock() < self._next:
            return
        self._next = self.clock() + HEARTBEAT_SECONDS
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        for node_id in alive.keys() - self._known:
            self.journal.bill(ledger.node_up, **_node_fields(alive[node_id]))
        for node_id in self._known - alive.keys():
            self.journal.bill(ledger.node_down, node=node_id, why="lost")
        self._known = set(alive)
        self.journal.bill(ledger.heartbeat)
        self.journal.write_cost_summary()


def _node_fields(node: dict[str, Any]) -> dict[str, Any]:
    resources = node["Resources"]
    is_head = "node:__internal_head__" in resources
    return {
        "node": node["NodeID"],
        "kind": "head" if is_head else "worker",
        "gpus": resources.get("GPU", 0.0),
        "cpus": resources.get("CPU", 0.0),
        "instance_type": None,
        "zone": None,
        "lifecycle": None,
    }
