"""Who may write a sweep's files in S3: one copy of its results folder, and in it one driver.

Always holds: the object `.driver.json` names the copy that is the newest; it is replaced only on the condition that
nobody else has replaced it meanwhile. A driver renews it while it lives, and a copy becomes the newest only once it
is complete; one that has not been renewed for a minute is taken for dead. Ages are told by S3's clock.

    with take_lease(objects, copy, taken_over) as lease:
        ...                 # bring the copy up to date
        lease.complete()
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from paramalloc.errors import UserError
from paramalloc.results import DRIVER
from paramalloc.storage.lock import in_words, own_name
from paramalloc.storage.objects import ObjectChangedError, Objects, StorageError

RENEW_SECONDS = 15.0
DEAD_AFTER_SECONDS = 60.0


class Lease:
    """The right to write under `objects`, renewed by a thread while the `with` block runs and given back at its end.

    Args:
        copy: the name of this copy of the results, which counts as the newest from `complete` on.
        newest: the name of the one that does until then; None where there is none.
        tag: of the entry that is replaced; None where there is none.
        taken_over: called, once, when another driver has taken the lease.

    Errors, at the end of the block: StorageError when S3 could not be told.
    """

    def __init__(
        self, objects: Objects, copy: str, newest: str | None, tag: str | None, taken_over: Callable[[], None]
    ) -> None:
        self.objects, self.copy, self.taken_over = objects, copy, taken_over
        self.lost = threading.Event()
        self._newest, self._tag, self._name = newest, tag, {"writer": copy, **own_name()}
        self._writing, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self.lost.is_set():
            return
        try:
            self.write(alive=False)
        except ObjectChangedError:
            self._lose()
        except StorageError as problem:
            if error is None:
                raise
            error.add_note(f"Besides, storage could not be told that this driver has ended: {problem}")

    def complete(self) -> None:
        """Let this copy be the newest. Errors: ObjectChangedError, after `taken_over`; StorageError."""
        self._newest = self.copy
        try:
            self.write(alive=True)
        except ObjectChangedError:
            self._lose()
            raise

    def write(self, alive: bool) -> None:
        """Replace the entry. Errors: ObjectChangedError when another driver has taken over; StorageError."""
        with self._writing:
            entry = json.dumps({"copy": self._newest, "alive": alive, **self._name}).encode()
            try:
                self._tag = self.objects.put_if(DRIVER, entry, self._tag)
            except ObjectChangedError:
                found = self.objects.get(DRIVER)
                if not found or not self._name.items() <= _read(found.content).items():
                    raise
                # It is our own: S3 had done what was asked, the answer was lost, and the request repeated.
                self._tag = self.objects.put_if(DRIVER, entry, found.tag)

    def _keep(self) -> None:
        while not self._over.wait(RENEW_SECONDS):
            try:
                self.write(alive=True)
            except ObjectChangedError:
                self._lose()
                return
            except StorageError:
                continue  # the results cannot be sent either, of which the mirror tells

    def _lose(self) -> None:
        if not self.lost.is_set():
            self.lost.set()
            self.taken_over()


def newest_copy(objects: Objects) -> str | None:
    """The name of the newest copy; None where there is none. Errors: StorageError."""
    entry = objects.get(DRIVER)
    return _read(entry.content).get("copy") if entry else None


def take_lease(objects: Objects, copy: str, taken_over: Callable[[], None]) -> Lease:
    """Become the one who writes; a driver of the same copy is dead, for whoever asks holds that folder's lock.

    Errors: UserError naming a driver elsewhere that was alive within the last minute; StorageError.
    """
    found = objects.get(DRIVER)
    entry = _read(found.content) if found else {}
    if found and entry.get("alive") and entry.get("writer") != copy and found.age_seconds < DEAD_AFTER_SECONDS:
        raise _taken(objects, entry, found.age_seconds)
    lease = Lease(objects, copy, entry.get("copy"), found.tag if found else None, taken_over)
    try:
        lease.write(alive=True)
    except ObjectChangedError:
        found = objects.get(DRIVER)
        raise _taken(objects, _read(found.content) if found else {}, 0.0) from None
    return lease


def _taken(objects: Objects, entry: dict[str, Any], age_seconds: float) -> UserError:
    got = f"results that another driver is writing ({in_words(entry)}; heard of {age_seconds:.0f} s ago)"
    return UserError(objects.address, got, f"stop it; if it is dead, try again in {DEAD_AFTER_SECONDS:.0f} s")


def _read(content: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(content)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
