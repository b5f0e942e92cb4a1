"""Running a stage's trials to their ends, and those of a later stage beside them where workers are free.

Always holds: the workers place and restart, `StageControl` and the recorder decide and remember; the first Ctrl-C
lets trials save and leave.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

from paramalloc.sweep.machines.jobs import Job, Shared
from paramalloc.sweep.machines.workers import Workers
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.stage_control import StageControl
from paramalloc.sweep.trials.trial import StageInput, train
from paramalloc.sweep.trials.work import SweepData


def give_trials(control: StageControl, names: Collection[str], data: Shared[SweepData], workers: Workers) -> None:
    """Have these trials of a stage trained; those that the workers have already are left to them."""
    known = workers.jobs_of(control)
    shared = Shared(_stage_input(control.recorder, data, workers))
    jobs = {name: Job(train, (name, shared)) for name in names if name not in known}
    workers.give(jobs, control, spare=control.ahead)


def run_stage(control: StageControl, workers: Workers, ahead: StageControl | None = None) -> None:
    """Until a stage's trials are over; earlier when it is hopeless, or for the budget's sake.

    Args:
        ahead: of a later stage, whose trials go on when this one is over, and stop when it has to stop.
    Errors: KeyboardInterrupt after Ctrl-C.
    """
    controls = [control, ahead] if ahead else [control]
    try:
        with _one_gentle_interrupt(control):
            while (workers.has_jobs_of(control) or control.stopping) and not _over(controls):
                workers.step()
    finally:
        for each in controls:
            if each is control or each.stopping:
                _clear(each, workers)
    if control.interrupted:
        raise KeyboardInterrupt


def _over(controls: list[StageControl]) -> bool:
    """Look around once. Returns whether all have stopped, as they do together."""
    over = [each.tick() for each in controls]
    if any(each.stopping for each in controls):
        for each in controls:
            each.stop()
    return all(over)


def _clear(control: StageControl, workers: Workers) -> None:
    workers.drop(control)
    for task in control.recorder.missing:
        control.recorder.interrupted(task.name)


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
