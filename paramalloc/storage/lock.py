"""One driver per results folder.

Always holds: while a driver lives, nobody else gets its folder, and who asks is told who has it; a driver that was
killed leaves no lock behind, because the operating system drops it (flock) with the process.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from paramalloc.errors import UserError


@contextmanager
def sole_driver(path: Path) -> Iterator[str | None]:
    """Hold the lock file `path`; yields the description of a driver that died holding it, or None.

    Errors: UserError naming the process, host and start of the driver that has the folder now.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        stream.seek(0)
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                str(path.parent),
                f"a folder that another driver is working in ({_describe(stream.read())})",
                "wait for it or stop it, or give --results another folder",
            ) from None
        left_behind = stream.read()
        _replace(stream.fileno(), json.dumps(own_name()))
        try:
            yield _describe(left_behind) if left_behind else None
        finally:
            _replace(stream.fileno(), "")


def own_name() -> dict[str, Any]:
    """By what others know this driver: `pid`, `host`, and `since` when."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}


def in_words(driver: Mapping[str, Any]) -> str:
    """What `own_name` gave some driver, for a person."""
    try:
        return f"process {driver['pid']} on {driver['host']} since {driver['since']}"
    except (KeyError, TypeError):
        return "an unknown process"


def _replace(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
    os.fsync(descriptor)


def _describe(text: str) -> str:
    try:
        return in_words(json.loads(text))
    except ValueError:
        return in_words({})
