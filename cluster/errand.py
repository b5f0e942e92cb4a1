"""Something that has to be told until it is heard, by a short-lived process, without ever being waited for.

Always holds: at most one process runs; a newer message replaces an older one at once; one that hangs is killed;
a failure is tried again with growing pauses and logged once per reason.
Why a process: Ray's client blocks for 40 s when the head is away and may take its own process down with it.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from typing import Protocol

from cluster.notice import NodeRecord

TIMEOUT_SECONDS = 30.0
FIRST_RETRY_SECONDS = 2.0
LONGEST_RETRY_SECONDS = 30.0


class Running(Protocol):
    """A process on its way: `poll` gives its exit status, None while it runs; `reason` what it said at last."""

    def poll(self) -> int | None: ...
    def reason(self) -> str: ...
    def kill(self) -> None: ...


class Errand:
    """Carries the newest record that `wants` was given.

    Args:
        launch: starts the process that passes a record on.
        log: takes one line per event.
    """

    def __init__(self, launch: Callable[[NodeRecord], Running], log: Callable[[str], None]) -> None:
        self._launch, self._log = launch, log
        self._record: NodeRecord | None = None
        self._running: Running | None = None
        self._started = self._not_before = 0.0
        self._retry_seconds = FIRST_RETRY_SECONDS
        self._last_reason = ""

    @property
    def pending(self) -> bool:
        """Is anything still to be told?"""
        return self._record is not None

    def wants(self, record: NodeRecord) -> None:
        """From now on `record` is what has to be told."""
        self.stop()
        self._record, self._not_before, self._retry_seconds = record, 0.0, FIRST_RETRY_SECONDS

    def advance(self, now: float) -> None:
        """Start, or look after, the process. `now`: Unix seconds."""
        if self._running is not None:
            self._look_after(self._running, now)
        elif self._record is not None and now >= self._not_before:
            try:
                self._running, self._started = self._launch(self._record), now
            except OSError as error:  # no memory, no room for its output
                self._failed(str(error), now)

    def stop(self) -> None:
        """End the process, if one runs."""
        if self._running is not None:
            self._running.kill()
            self._running = None

    def _look_after(self, running: Running, now: float) -> None:
        status = running.poll()
        if status == 0:
            self._log(f"told Ray: {running.reason()}")
            self._running = self._record = None
            self._last_reason = ""
        elif status is not None:
            self._failed(running.reason() or f"exit status {status}", now)
        elif now > self._started + TIMEOUT_SECONDS:
            self._failed(f"no answer in {TIMEOUT_SECONDS:.0f} s", now)

    def _failed(self, reason: str, now: float) -> None:
        self.stop()
        if reason != self._last_reason:
            self._log(f"Ray could not be told ({reason}); trying again")
        self._last_reason = reason
        self._not_before = now + self._retry_seconds
        self._retry_seconds = min(LONGEST_RETRY_SECONDS, 2 * self._retry_seconds)


class Child:
    """A `Running` of the operating system; its words are the last line of what it writes."""

    def __init__(self, command: Sequence[str]) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process; a pipe could fill up
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=self._output)

    def poll(self) -> int | None:
        return self._process.poll()

    def reason(self) -> str:
        self._output.seek(0)
        lines = self._output.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip() if lines else ""

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()
