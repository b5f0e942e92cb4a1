"""Drivers of one sweep, each a process of its own that is forked from one which has the program loaded already.

Always holds: what runs is `tune_main.main` with the same arguments every time, so a second driver is "the same
command again"; the six seconds that its imports take are spent once for all drivers of a test session.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

from paramalloc.files import read_jsonl
from paramalloc.results import ResultsFolder
from tests.sweep.outcomes import MEASUREMENT, NotMeasured

PATIENCE_SECONDS = 600.0  # a busy machine takes many times as long as a quiet one
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tune_main", "paramalloc.sweep.course"])


def _drive(arguments: list[str], environment: dict[str, str], log: Path, measured: bool) -> None:
    os.environ.update(environment)
    stream = log.open("a")
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
    for number in (signal.SIGINT, signal.SIGTERM):  # a test session in the background has Ctrl-C switched off
        signal.signal(number, signal.default_int_handler)
    from tune_main import main

    with nullcontext() if measured else patch(MEASUREMENT, NotMeasured):
        sys.exit(main(arguments))


class Driver:
    """`python tune_main.py SWEEP --results FOLDER`; its words go to `log`.

    Args:
        address: of its cluster; None: it starts a Ray of its own.
        measured: whether it measures latency and memory of finalists, too.
    """

    def __init__(self, sweep: Path, folder: ResultsFolder, address: str | None, measured: bool = False) -> None:
        self.folder, self.log = folder, sweep.with_suffix(".log")
        arguments = [str(sweep), "--results", str(folder.root)]
        if folder.storage:
            arguments += ["--storage", folder.storage.removesuffix(f"/{folder.root.name}")]
        environment = dict(os.environ) | ({"RAY_ADDRESS": address} if address else {})
        self.process = _FORKS.Process(target=_drive, args=(arguments, environment, self.log, measured))
        self.process.start()

    @property
    def alive(self) -> bool:
        return self.process.is_alive()

    @property
    def code(self) -> int | None:
        """Its exit code; a negative one is the signal that ended it."""
        return self.process.exitcode

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        return [row for row in read_jsonl(self.folder.events) if not kinds or row["event"] in kinds]

    def wait_for(self, condition: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
        """What `condition` gives as soon as it gives something; None when the driver ends first or time is up."""
        until = time.monotonic() + seconds
        while not (value := condition()):
            if not self.alive or time.monotonic() > until:
                return None
            time.sleep(0.05)
        return value

    def signal(self, number: signal.Signals) -> None:
        assert self.process.pid
        os.kill(self.process.pid, number)

    def end(self, seconds: float = PATIENCE_SECONDS) -> int | None:
        """Wait for its end; returns the exit code, None when it does not end."""
        self.process.join(seconds)
        return self.code
