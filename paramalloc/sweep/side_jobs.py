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
from paramalloc.sweep.ray_session import Cluster
from paramalloc.sweep.sanity import Check
from paramalloc.sweep.trial import CheckOutcome, profile, try_out
from paramalloc.sweep.work import SweepData
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
    worker, shared = _on_its_own(try_out, cpus, gpus), ray.put(data)
    running = {worker.remote(check, shared, cpus, gpus): (check, 0) for check in checks}
    try:
        while running:
            ready = _first_of(list(running), tick)
            check, lost = running.pop(ready)
            try:
                outcome = ray.get(ready)
            except RayError as error:
                _give_up_or_go_on(f"sanity check {check.name}", error, lost + 1)
                running[worker.remote(check, shared, cpus, gpus)] = check, lost + 1
            else:
                yield check, outcome
    finally:
        _end(running)


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
    worker, lost = _on_its_own(profile, cpus, gpus), 0
    while True:
        job = worker.remote(runs, evaluation, cpus, gpus)
        try:
            return ray.get(_first_of([job], tick))
        except RayError as error:
            lost += 1
            _give_up_or_go_on("measuring latency and memory", error, lost)
        finally:
            _end([job])


def _first_of(running: list[Any], tick: Callable[[], None]) -> Any:
    """The first job that is over, one way or the other."""
    while True:
        over, _ = ray.wait(running, num_returns=1, timeout=TICK_SECONDS)
        if over:
            return over[0]
        tick()


def _end(jobs: Iterable[Any]) -> None:
    """End the workers of jobs that still run, and start none for those that wait; what is over stays as it is."""
    for job in jobs:
        ray.cancel(job, force=True)


def _on_its_own(function: Callable[..., Any], cpus: float, gpus: float) -> Any:
    """Without Ray's own retries, which would hide how often a worker was lost, and try for ever out of memory."""
    return ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=0)(function)


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
