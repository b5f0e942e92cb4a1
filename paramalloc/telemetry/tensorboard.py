"""TensorBoard event files, one for each attempt at a trial.

Always holds: files sort by attempt, whatever the machines' clocks say, and each opens with a session start that voids
what earlier attempts logged past the step it carries on from, so TensorBoard shows each step once. A logged value has
left the process when `log` returns, and is durable after `flush`.

Written with TensorBoard's own record writer: its file writer names files by the second and writes from a thread.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from paramalloc.telemetry import Values

_PREFIX = "events.out.tfevents"  # TensorBoard reads files so named, in the order of their names


class TensorBoard:
    """Scalars of one attempt; the step is the optimiser step.

    Args:
        folder: the trial's `tensorboard`; made when missing.
        resume_step: the step this attempt carries on from, 0 for a start.
        clock: seconds since 1970, for the wall-time axis.

    Errors: OSError when the folder cannot be written or the disk is full.
    """

    def __init__(self, folder: Path, resume_step: int, clock: Callable[[], float] = time.time) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        attempt = len(list(folder.glob(f"{_PREFIX}.*")))
        name = f"{_PREFIX}.{attempt:010d}.{socket.gethostname()}.{os.getpid()}"
        self._clock = clock
        self._stream = (folder / name).open("xb")
        self._records = RecordWriter(self._stream)
        self._write(file_version="brain.Event:2")  # the version whose readers heed session starts
        self._write(step=resume_step + 1, session_log=SessionLog(status=SessionLog.START))

    def log(self, step: int, values: Values) -> None:
        scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(step=step, summary=Summary(value=scalars))

    def flush(self) -> None:
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        self._stream.close()

    def _write(self, **fields: Any) -> None:
        self._records.write(Event(wall_time=self._clock(), **fields).SerializeToString())
        self._stream.flush()
