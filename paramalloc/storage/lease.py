"""Who may write a sweep's files in S3: one copy of its results folder, and in it one driver.

Always holds: the object `.driver.json` names the copy that wrote last, so it is known whose files are the newest;
it is replaced only on the condition that nobody else has replaced it meanwhile. A driver renews it while it lives;
one that has not for a minute is taken for dead. Ages are told by S3's clock.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from paramalloc.errors import UserError
from paramalloc.results import DRIVER
from paramalloc.storage.lock import in_words, own_name
from paramalloc.storage.objects import ObjectChangedError, Objects

RENEW_SECONDS = 15.0
DEAD_AFTER_SECONDS = 60.0


@dataclass
class Lease:
    """The right to write under `objects`, for the copy of the results that is called `copy`.

    The copy counts as the newest from the first `renew` on, so that it can be brought up to date before.
    """

    objects: Objects
    copy: str
    tag: str

    def renew(self) -> None:
        """Errors: ObjectChangedError when another driver has taken over; StorageError."""
        self.tag = self.objects.put_if(DRIVER, _entry(self.copy, alive=True), self.tag)

    def release(self) -> None:
        """Leave word that this driver has ended and this copy is the newest. Errors: as for `renew`."""
        self.tag = self.objects.put_if(DRIVER, _entry(self.copy, alive=False), self.tag)


def newest_copy(objects: Objects) -> str | None:
    """The name of the copy that wrote last; None where nobody has. Errors: StorageError."""
    entry = objects.get(DRIVER)
    return _read(entry.content).get("copy") if entry else None


def take_lease(objects: Objects, copy: str) -> Lease:
    """Become the one who writes; a driver of the same copy is dead, for whoever asks holds that folder's lock.

    Errors: UserError naming a driver elsewhere that was alive within the last minute; StorageError.
    """
    found = objects.get(DRIVER)
    entry = _read(found.content) if found else {}
    if found and entry.get("alive") and entry.get("copy") != copy and found.age_seconds < DEAD_AFTER_SECONDS:
        raise _taken(objects, entry, found.age_seconds)
    newest = _entry(entry.get("copy", copy), alive=True)
    try:
        return Lease(objects, copy, objects.put_if(DRIVER, newest, found.tag if found else None))
    except ObjectChangedError:
        found = objects.get(DRIVER)
        raise _taken(objects, _read(found.content) if found else {}, 0.0) from None


def _taken(objects: Objects, entry: dict[str, Any], age_seconds: float) -> UserError:
    got = f"results that another driver is writing ({in_words(entry)}; heard of {age_seconds:.0f} s ago)"
    return UserError(objects.address, got, f"stop it; if it is dead, try again in {DEAD_AFTER_SECONDS:.0f} s")


def _entry(copy: str, alive: bool) -> bytes:
    return json.dumps({"copy": copy, "alive": alive, **own_name()}).encode()


def _read(content: bytes) -> dict[str, Any]:
    try:
        entry = json.loads(content)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
