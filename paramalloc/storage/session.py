"""Storage for one session of a driver: its folder is brought up to date first, and kept stored while it works.

Always holds: of two copies of the results the one that wrote last is the truth; a folder that is no copy of what is
in S3 is never overwritten.

    with stored(folder, say):       # folder.storage says where
        run_sweep(...)
    fetch("s3://bucket/sweeps/embed", Path("results/embed"), whole=False)
"""

from __future__ import annotations

import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from paramalloc.errors import UserError
from paramalloc.files import atomic_write
from paramalloc.results import ResultsFolder
from paramalloc.storage.lease import newest_copy, take_lease
from paramalloc.storage.lock import sole_driver
from paramalloc.storage.mirror import Mirror, pull, set_aside
from paramalloc.storage.objects import open_objects


@contextmanager
def stored(folder: ResultsFolder, say: Callable[[str], None], aside: str | None = None) -> Iterator[None]:
    """Keep `folder`, whose lock the caller holds, in `folder.storage`; without one, nothing happens.

    Args:
        say: shows one sentence to a person.
        aside: move the results that are stored to the storage's name with this ending, and begin anew.

    Errors: UserError when another driver is writing there, the folder holds other results, or the address is none;
    StorageError when S3 cannot be used.
    """
    if folder.storage is None:
        yield
        return
    objects = open_objects(folder.storage)
    own = _copy_name(folder)
    is_newest = own is not None and own == newest_copy(objects)
    lease = take_lease(objects, own if own and is_newest else uuid.uuid4().hex)
    if aside:
        set_aside(objects, open_objects(f"{folder.storage}{aside}"))
    empty = not objects.names(folder.sweep.name)
    if not empty and not is_newest:
        _require_replaceable(folder, own)
        say(f"taking over the results in {folder.storage}")
        pull(folder, objects)
    atomic_write(folder.copy_name, lease.copy)
    lease.renew()
    with Mirror(folder, lease, say, taken_over=_interrupt, whole=empty):
        yield


def fetch(address: str, to: Path, whole: bool) -> None:
    """Bring what is stored at `address` to a folder; `whole`: with checkpoints and curves.

    Errors: UserError when nothing is there, or the folder holds other results or has a driver; StorageError.
    """
    objects, folder = open_objects(address), ResultsFolder(to)
    if not objects.names(folder.sweep.name):
        raise UserError(address, f"no {folder.sweep.name} there", "give the address of one sweep's results")
    with sole_driver(folder.lock):
        own = _copy_name(folder)
        _require_replaceable(folder, own)
        if own is None or own != newest_copy(objects):
            pull(folder, objects, whole)
            atomic_write(folder.copy_name, "fetched")


def _interrupt() -> None:
    """As Ctrl-C would; a signal that this thread raised would not wake the main one from a wait."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _copy_name(folder: ResultsFolder) -> str | None:
    return folder.copy_name.read_text() if folder.copy_name.exists() else None


def _require_replaceable(folder: ResultsFolder, own: str | None) -> None:
    if own is None and folder.sweep.exists():
        allowed = "give --results another folder, or move this one away"
        raise UserError(str(folder.root), "results that never were in storage, while others are there", allowed)
