"""Folders in a cache that are whole or not there: built beside their final name and renamed when finished.

Always holds: no other process ever sees half a folder; two that build the same one end with one of them; what a
killed process left behind is removed by the next one that builds.

    with building(folder) as unfinished:
        (unfinished / "file").write_text("...")
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paramalloc.errors import UserError

_UNFINISHED = re.compile(r"\.[0-9a-f]{32}\.(?P<host>.+)-(?P<pid>\d+)-\w+")
_ABANDONED_SECONDS = 24 * 3600.0  # for those of other machines, and of a process whose number was given out again


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """An empty folder that becomes `folder`, in place of a damaged one, if nothing is raised inside.

    Errors: UserError("data.cache_dir", ...) when it cannot be made.
    """
    try:
        unfinished = _begin(folder)
    except OSError as error:
        raise UserError(
            "data.cache_dir", f"'{folder.parent}', which cannot be written ({error})", "give another folder"
        ) from error
    try:
        yield unfinished
        _publish(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _begin(folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder.parent, time.time())
    prefix = f".{folder.name}.{socket.gethostname()}-{os.getpid()}-"
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=prefix))
    unfinished.chmod(0o755)
    _move_away(folder, unfinished / "damaged")
    return unfinished


def _move_away(folder: Path, aside: Path) -> None:
    """Rename first, so that no other process sees half a folder."""
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return  # the usual case: nothing is there
    shutil.rmtree(aside)


def _publish(unfinished: Path, folder: Path) -> None:
    try:
        os.rename(unfinished, folder)
    except OSError:
        if not folder.exists():
            raise
        # another process was faster; what it built is the same


def remove_abandoned(cache: Path, now: float) -> None:
    """Remove the unfinished folders of processes that are gone. `now`: seconds since the epoch."""
    for path in cache.iterdir():
        match = _UNFINISHED.fullmatch(path.name)
        if match and _is_abandoned(path, match["host"], int(match["pid"]), now):
            shutil.rmtree(path, ignore_errors=True)


def _is_abandoned(path: Path, host: str, pid: int, now: float) -> bool:
    if host == socket.gethostname() and not _is_running(pid):
        return True
    try:
        return now - path.stat().st_mtime > _ABANDONED_SECONDS
    except FileNotFoundError:
        return False  # finished in this moment


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True
