"""Work beside the trials: sanity checks and the measurement of finalists, each in a worker like a trial's.

Always holds: a job whose worker was lost is done again, on another machine if need be; one that loses worker after
worker ends with a sentence that says so; whatever ends the waiting (the budget, Ctrl-C) ends the workers, too.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from paramalloc.config import EvaluationConfig, ResourcesConfig
from paramalloc.errors import UserError
from paramalloc.sweep.machines.ray_session import Cluster
from paramalloc.sweep.runbook.sanity import Check
from paramalloc.sweep.trials.trial import CheckOutcome, profile, try_out
from paramalloc.sweep.trials.work import SweepData
from paramalloc.training.run import TrainingRun

MAX_LOST_WORKERS = 5
TICK_SECONDS = 1.0


def run_checks(
    checks: Sequence[Check],
    data: SweepData,
    resources: ResourcesConfig,
    cluster: Cluster,
    tick: Callable[[], None] = lambda: None,
) -> Generator[tuple[Check, CheckOutcome]]:
    """Each check with its outcome as soon as it has one; they run side by side, each with what a trial holds.

    `tick` is called about once a second meanwhile, for whoever watches machines and money; what it raises ends the
    checks that still run. So does closing the generator.

    Errors: UserError when the worker of one was lost again and again.
    """
    cpus, gpus = resources.cpus_per_trial, cluster.gpus_per_trial(resources)
    shared = ray.put(data)
    running = {_Job(cpus, gpus, try_out, check, shared, cpus, gpus): (check, 0) for check in checks}
    try:
        while running:
            job = _first_of(running, tick)
            check, lost = running.pop(job)
            try:
                outcome = job.outcome()
            except RayError as error:
                _give_up_or_go_on(f"sanity check {check.name}", error, lost + 1)
                running[_Job(cpus, gpus, try_out, check, shared, cpus, gpus)] = check, lost + 1
            else:
                yield check, outcome
    finally:
        for job in running:
            job.end()


def measure_alone(
    runs: dict[str, TrainingRun],
    evaluation: EvaluationConfig,
    resources: ResourcesConfig,
    cluster: Cluster,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Latency and memory of variants in a worker of their own, to be called while no trial runs.

    `tick`: as for `run_checks`.

    Errors: UserError when the worker was lost again and again, or the measurement broke down.
    """
    cpus, gpus = resources.cpus_per_trial, cluster.gpus_per_trial(resources)
    lost = 0
    while True:
        job = _Job(cpus, gpus, profile, runs, evaluation, cpus, gpus)
        try:
            return _first_of([job], tick).outcome()
        except RayError as error:
            lost += 1
            _give_up_or_go_on("measuring latency and memory", error, lost)
        finally:
            job.end()


class _Worker:
    """A process for one call."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


class _Job:
    """A call under way in a worker of its own, which Ray neither repeats nor brings back.

    The worker is an actor: killing those is safe, while Ray 2.60 may abort the process that cancels a task by force
    ("Tried to complete task that was not pending").
    """

    def __init__(self, cpus: float, gpus: float, function: Callable[..., Any], *arguments: Any) -> None:
        self._worker = ray.remote(_Worker).options(num_cpus=cpus, num_gpus=gpus).remote()
        self.answer = self._worker.call.remote(function, *arguments)

    def outcome(self) -> Any:
        """What the call has returned. Errors: RayError."""
        try:
            return ray.get(self.answer)
        finally:
            self.end()

    def end(self) -> None:
        ray.kill(self._worker)


def _first_of(running: Iterable[_Job], tick: Callable[[], None]) -> _Job:
    """The first job that is over, one way or the other."""
    jobs = {job.answer: job for job in running}
    while True:
        over, _ = ray.wait(list(jobs), num_returns=1, timeout=TICK_SECONDS)
        if over:
            return jobs[over[0]]
        tick()


def _give_up_or_go_on(what: str, error: RayError, lost: int) -> None:
    if isinstance(error, RayTaskError):
        raise UserError(what, f"an error: {brief(error.cause)}", "run the same command again, with -v to see more")
    if lost >= MAX_LOST_WORKERS:
        got = f"a worker that was lost {lost} times; the last time: {brief(error)}"
        raise UserError(what, got, "give it a machine with more memory, or run the same command again")


def brief(error: BaseException) -> str:
    """An error's first line, and from Ray's long accounts of a dead worker the sentence that says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    details = [line for line in lines if line.startswith(("The actor is dead because", "Memory on the node"))]
    return (details or lines)[0][:300]
