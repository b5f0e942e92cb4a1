"""Running a stage's trials to their ends.

Always holds: the workers place and restart, `StageControl` and the recorder decide and remember; the first Ctrl-C
lets trials save and leave.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

from paramalloc.errors import UserError
from paramalloc.sweep.budget import BudgetGuard
from paramalloc.sweep.machines.nodes import NodeWatch
from paramalloc.sweep.machines.workers import Job, Shared, Workers
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.stage_control import StageControl
from paramalloc.sweep.trials.recall import forget, request_stop
from paramalloc.sweep.trials.trial import StageInput, train
from paramalloc.sweep.trials.work import SweepData
from paramalloc.sweep.watchdog import Watchdog


def run_stage(
    recorder: StageRecorder,
    names: list[str],
    data: Shared[SweepData],
    workers: Workers,
    nodes: NodeWatch,
    guard: BudgetGuard,
) -> None:
    """Train what the stage is missing; returns early when the recorder is `hopeless`, or for the budget's sake.

    Args:
        names: of those trials, the ones that the guard has admitted.
    Errors: KeyboardInterrupt after Ctrl-C; UserError when Ray ends without a result of some trial.
    """
    stage = _stage_input(recorder, data, workers)
    control = StageControl(
        recorder,
        nodes,
        Watchdog(recorder.plan.config.resources.silence_seconds),
        guard,
        stage.cpus,
        stage.gpus,
        request_stop=lambda: request_stop(stage.session),
        kill=lambda name: workers.kill(control, name),
    )
    shared = Shared(stage)
    workers.give({name: Job(train, (name, shared)) for name in names}, control)
    try:
        with _one_gentle_interrupt(control):
            while workers.has_jobs_of(control) and not control.tick():
                workers.step()
    finally:
        workers.drop(control)
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


def _stage_input(recorder: StageRecorder, data: Shared[SweepData], workers: Workers) -> StageInput:
    tasks, config = recorder.missing, recorder.plan.config
    return StageInput(
        session=recorder.journal.session,
        tasks={task.name: task for task in tasks},
        data=data,
        evaluation=config.evaluation,
        telemetry=config.telemetry,
        origins={task.name: recorder.origin(task) for task in tasks},
        folder=replace(recorder.folder, root=recorder.folder.root.resolve()),
        cpus=workers.cpus,
        gpus=workers.gpus,
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
