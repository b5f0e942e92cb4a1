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
from pathlib import Path
from typing import Any
from unittest.mock import patch

from paramalloc.files import read_jsonl
from paramalloc.results import ResultsFolder

PATIENCE_SECONDS = 600.0  # a busy machine takes many times as long as a quiet one
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tune_main", "paramalloc.sweep.driver", "paramalloc.report"])


def _not_measured(runs: dict[str, Any], *_: Any) -> dict[str, dict[str, Any]]:
    """Latency and memory take eight seconds and no part in what is compared; tests/sweep loses that job's worker."""
    return {variant: {"alone": True} for variant in runs}


def _drive(arguments: list[str], address: str, log: Path) -> None:
    os.environ["RAY_ADDRESS"] = address
    stream = log.open("a")
    os.dup2(stream.fileno(), 1)
    os.dup2(stream.fileno(), 2)
    for number in (signal.SIGINT, signal.SIGTERM):  # a test session in the background has Ctrl-C switched off
        signal.signal(number, signal.default_int_handler)
    from tune_main import main

    with patch("paramalloc.sweep.stages.measure_alone", _not_measured):
        sys.exit(main(arguments))


class Driver:
    """`python tune_main.py SWEEP --results FOLDER` on the cluster at `address`; its words go to `log`."""

    def __init__(self, sweep: Path, folder: ResultsFolder, address: str) -> None:
        self.folder, self.log = folder, sweep.with_suffix(".log")
        arguments = [str(sweep), "--results", str(folder.root)]
        if folder.storage:
            arguments += ["--storage", folder.storage.removesuffix(f"/{folder.root.name}")]
        self.process = _FORKS.Process(target=_drive, args=(arguments, address, self.log))
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
