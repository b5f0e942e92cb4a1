"""Storage for one session of a driver: its folder is brought up to date first, and kept stored while it works.

Always holds: of two copies of the results the one that wrote last is the truth; a folder that is no copy of what is
in S3 is never overwritten. An interruption at any line leaves one of the two whole, and the same command goes on.

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
from paramalloc.results import DRIVER, ResultsFolder
from paramalloc.storage.lease import newest_copy, take_lease
from paramalloc.storage.lock import sole_driver
from paramalloc.storage.mirror import Mirror, clear, pull, send_unseen, set_aside
from paramalloc.storage.objects import Objects, open_objects

_FETCHED = "fetched"  # the name of a copy that is never the newest


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
    empty = aside is not None or not objects.names(folder.sweep.name)
    if not empty and not is_newest:
        _require_replaceable(folder, own)
    if empty:
        _require_no_strangers(folder.storage, objects)

    def taken_over() -> None:
        say(f"another driver has taken over {folder.storage}; this one stops")
        _interrupt()

    with take_lease(objects, own if own and is_newest else uuid.uuid4().hex, taken_over) as lease:
        if aside:
            set_aside(objects, open_objects(f"{folder.storage}{aside}"))
        if empty and not is_newest:
            clear(objects)  # what an interrupted start has left, and no trial may carry on from
        if empty:
            send_unseen(folder, objects)
        elif not is_newest:
            say(f"taking over the results in {folder.storage}")
            _pull(folder, objects)
        lease.complete()
        atomic_write(folder.copy_name, lease.copy)
        with Mirror(folder, lease, say):
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
            _pull(folder, objects, whole)


def _pull(folder: ResultsFolder, objects: Objects, whole: bool = False) -> None:
    """`pull`, and should it be interrupted, the half-filled folder is known as one that may be replaced."""
    atomic_write(folder.copy_name, _FETCHED)
    pull(folder, objects, whole)


def _interrupt() -> None:
    """As Ctrl-C would; a signal that this thread raised would not wake the main one from a wait."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


def _copy_name(folder: ResultsFolder) -> str | None:
    return folder.copy_name.read_text() if folder.copy_name.exists() else None


def _require_no_strangers(address: str, objects: Objects) -> None:
    """What a driver begins with is cleared, so it has to be a driver's."""
    names = sorted(objects.names())
    if names and DRIVER not in names:
        allowed = "give --storage a prefix of its own"
        raise UserError(address, f"objects that no sweep has put there, such as {names[0]}", allowed)


def _require_replaceable(folder: ResultsFolder, own: str | None) -> None:
    if own is None and folder.sweep.exists():
        allowed = "give --results another folder, or move this one away"
        raise UserError(str(folder.root), "results that never were in storage, while others are there", allowed)
