"""Work beside the trials: sanity checks, how many trials share a GPU, and the measurement of finalists.

Always holds: a job whose worker was lost is done again, on another machine if need be; one that loses worker after
worker ends with a sentence that says so; whatever ends the waiting (the budget, Ctrl-C) ends the workers, too.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any

from paramalloc.config import EvaluationConfig
from paramalloc.errors import UserError
from paramalloc.evaluation.profile.together import Together
from paramalloc.sweep.machines.jobs import Job, Report, Shared, brief
from paramalloc.sweep.machines.workers import Workers
from paramalloc.sweep.runbook.sanity import Check
from paramalloc.sweep.trials.trial import CheckOutcome, profile, share, step_memory, try_out
from paramalloc.sweep.trials.work import SweepData
from paramalloc.training.run import TrainingRun

MAX_LOST_WORKERS = 5
TICK_SECONDS = 1.0


def run_checks(
    checks: Sequence[Check], data: Shared[SweepData], workers: Workers, tick: Callable[[], None] = lambda: None
) -> Generator[tuple[Check, CheckOutcome]]:
    """Each check with its outcome as soon as it has one; they run side by side.

    `tick` is called about once a second meanwhile, for whoever watches machines and money; what it raises ends the
    checks that still run. So does closing the generator.

    Errors: UserError when the worker of one was lost again and again.
    """
    by_name = {f"sanity check {check.name}": check for check in checks}
    size = (workers.cpus, workers.gpus)
    asked = _Asked()
    workers.give({name: Job(_answer, (try_out, (check, data, *size))) for name, check in by_name.items()}, asked)
    with closing(_answers(asked, workers, tick)) as answers:
        for name, outcome in answers:
            yield by_name[name], outcome


class Errand:
    """What one worker is to find out, when nobody else needs it; asked for now, and wanted later."""

    def __init__(self, name: str, job: Job, workers: Workers) -> None:
        self.workers, self._asked = workers, _Asked()
        workers.give({name: job}, self._asked, spare=True)

    def answer(self, tick: Callable[[], None] = lambda: None) -> Any:
        """Waits for it. `tick`: as for `run_checks`. Errors: UserError as for `Measurement`."""
        ((_, found),) = _answers(self._asked, self.workers, tick)
        return found


class Measurement:
    """Latency and memory of variants; begun beside trials, which memory does not mind, and finished without any.

    Args:
        runs: one of each variant. Some may turn out not to train at all: then memory is measured again without them.
    """

    def __init__(self, runs: dict[str, TrainingRun], evaluation: EvaluationConfig, workers: Workers) -> None:
        self.evaluation, self.workers = evaluation, workers
        self._size = (workers.cpus, workers.gpus)
        self._memory = Errand("measuring memory", Job(_answer, (step_memory, (runs, *self._size))), workers)

    def finish(self, runs: dict[str, TrainingRun], tick: Callable[[], None] = lambda: None) -> dict[str, Any]:
        """The profiles of these variants, by a worker that is the only one. `tick`: as for `run_checks`.

        Errors: UserError when a worker was lost again and again, or the measurement broke down.
        """
        try:
            memory = self._memory.answer(tick)
        except UserError:
            memory = None
        self.workers.dismiss(keep=1)
        job = Job(_answer, (profile, (runs, self.evaluation, memory, *self._size)))
        return dict(Errand("measuring latency and memory", job, self.workers).answer(tick))


def measure_sharing(
    run: TrainingRun, most: int, workers: Workers, tick: Callable[[], None] = lambda: None
) -> list[Together]:
    """How fast runs like this one train alone and together, by a worker that holds a GPU; `tick`: as above.

    Errors: UserError when the worker was lost again and again, or the measurement broke down.
    """
    job = Job(_answer, (share, (run, most, workers.cpus, workers.gpus)))
    return list(Errand("measuring trials that share a GPU", job, workers).answer(tick))


def _answers(asked: _Asked, workers: Workers, tick: Callable[[], None]) -> Generator[tuple[str, Any]]:
    """What each job returns, as soon as it does."""
    next_tick = time.monotonic() + TICK_SECONDS
    try:
        while asked.answers or workers.has_jobs_of(asked):
            if not asked.answers:
                workers.step()
            if asked.problem:
                raise asked.problem
            while asked.answers:
                yield asked.answers.popleft()
            if time.monotonic() >= next_tick:
                tick()
                next_tick = time.monotonic() + TICK_SECONDS
    finally:
        workers.drop(asked)


class _Asked:
    """Oversees jobs that return one answer each; they are named as a person would call them."""

    def __init__(self) -> None:
        self.answers: deque[tuple[str, Any]] = deque()
        self.problem: UserError | None = None
        self._lost: Counter[str] = Counter()

    def place_in_line(self, name: str) -> tuple[bool, ...]:
        return (True,) * 4  # behind all trials

    def wanted(self, name: str, waiting: bool) -> bool:
        return self.problem is None

    def began(self, name: str) -> None: ...

    def ended(self, name: str) -> None: ...

    def receive(self, name: str, payload: dict[str, Any]) -> bool:
        if "error" in payload:
            hint = "run the same command again, with -v to see more"
            self.problem = UserError(name, f"an error: {payload['error']}", hint)
        else:
            self.answers.append((name, payload["answer"]))
        return True

    def lost(self, name: str, cause: str) -> None:
        self._lost[name] += 1
        if self._lost[name] >= MAX_LOST_WORKERS:
            got = f"a worker that was lost {self._lost[name]} times; the last time: {cause}"
            hint = "give it a machine with more memory, or run the same command again"
            self.problem = UserError(name, got, hint)


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...], report: Report) -> None:
    """Calls the function in a worker; what it raises is an answer, too."""
    try:
        answer = {"answer": function(*arguments)}
    except Exception as error:
        answer = {"error": brief(error)}
    report(answer)
