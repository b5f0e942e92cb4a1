"""A results folder and its copy in S3: `pull` brings a folder up to date, `Mirror` keeps the copy up to date.

Always holds: what is sent was read in an order in which no file is older than one that rests on it, and is written
in the opposite order, so a driver that starts from the copy of any instant finds a state that once was. Checkpoints
and curves of trials are not mirrored: their workers store them themselves.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from paramalloc.results import CHECKPOINTS, DRIVER, TENSORBOARD, ResultsFolder
from paramalloc.storage.lease import Lease
from paramalloc.storage.objects import Objects, StorageError

PUSH_SECONDS = 5.0
# Later ones rest on earlier ones: a trial's metrics on its curve, decisions on both, a report on everything.
_SWEEP, _TRIAL = ResultsFolder(Path()), ResultsFolder(Path()).trial("", "")
_ORDER = [
    path.name for path in (_SWEEP.events, _SWEEP.plan, _SWEEP.sweep, _TRIAL.history, _SWEEP.decisions, _TRIAL.metrics)
]


def pull(folder: ResultsFolder, objects: Objects, whole: bool = False) -> None:
    """Make the folder's files those in S3; with `whole`, checkpoints and curves too.

    Errors: StorageError; OSError when the folder cannot be written.
    """
    names = {name for name in objects.names() if name != DRIVER and (whole or is_mirrored(Path(name)))}
    for path in list(_files(folder.root)):
        if path.relative_to(folder.root).as_posix() not in names:
            path.unlink()
    for name in sorted(names):
        with suppress(FileNotFoundError):  # a driver that is at work has removed it meanwhile
            objects.fetch(name, folder.root / name)


def send_unseen(folder: ResultsFolder, objects: Objects) -> None:
    """Send what no mirror and no worker has sent: checkpoints and curves too, but not the sweep file.

    Where that is, results are taken to be stored, so it has to come last: with the mirror's first push.

    Errors: StorageError; OSError when a file cannot be read.
    """
    for path in _all_files(folder.root):
        if path != folder.sweep:
            objects.send(path, path.relative_to(folder.root).as_posix())


def clear(objects: Objects) -> None:
    """Delete all results. The sweep file goes first: what is left after an interruption counts as none.

    Errors: StorageError.
    """
    names = objects.names().keys() - {DRIVER}
    objects.delete(names & {_SWEEP.sweep.name})
    objects.delete(names - {_SWEEP.sweep.name})


def set_aside(objects: Objects, aside: Objects) -> None:
    """Move all results to another prefix; whole there before anything here goes. Errors: StorageError."""
    names = objects.names().keys() - {DRIVER}
    for name in sorted(names, key=lambda name: name == _SWEEP.sweep.name):
        objects.copy(name, aside)
    clear(objects)


class Mirror:
    """Copies what has changed in the folder to S3 every few seconds, in a thread of its own, while the lease is held.

    A context manager: at its end everything is there.

    Args:
        folder: the results.
        lease: held for the folder's copy; when another driver has taken it, nothing is sent any more.
        say: shows one sentence to a person.

    Errors, at the end of the `with` block: StorageError when the last changes could not be sent.
    """

    def __init__(self, folder: ResultsFolder, lease: Lease, say: Callable[[str], None]) -> None:
        self.folder, self.lease, self.say = folder, lease, say
        self._sent: dict[str, tuple[int, int]] = {}  # modification time and size by name
        self._over, self._away = threading.Event(), False
        self._thread = threading.Thread(target=self._keep_up, name="storage", daemon=True)

    def __enter__(self) -> Mirror:
        objects, root = self.lease.objects, self.folder.root
        here = {path.relative_to(root).as_posix() for path in _files(root)}
        objects.delete(name for name in objects.names().keys() - here if is_mirrored(Path(name)))
        self.push()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self.lease.lost.is_set():
            return
        try:
            self.push()
        except StorageError as problem:
            if error is None:
                raise
            error.add_note(f"Besides, the results could not be stored: {problem}")

    def push(self) -> None:
        """Send what is new and delete what is gone. Errors: StorageError; the rest is then sent the next time."""
        changed: dict[str, tuple[bytes, tuple[int, int]]] = {}
        present = set()
        for path in sorted(_files(self.folder.root), key=_rank, reverse=True):
            name = path.relative_to(self.folder.root).as_posix()
            present.add(name)
            try:
                about = path.stat()
                version = (about.st_mtime_ns, about.st_size)
                if self._sent.get(name) != version:
                    changed[name] = path.read_bytes(), version
            except FileNotFoundError:
                present.discard(name)
        for name, (content, version) in reversed(changed.items()):
            self.lease.objects.put(name, content)
            self._sent[name] = version
        gone = self._sent.keys() - present
        self.lease.objects.delete(gone)
        for name in gone:
            del self._sent[name]

    def _keep_up(self) -> None:
        while not self._over.wait(PUSH_SECONDS) and not self.lease.lost.is_set():
            try:
                self.push()
            except OSError as error:
                if not self._away:
                    self.say(f"warning: results are kept in {self.folder.root} alone for now: {error}")
                self._away = True
            else:
                if self._away:
                    self.say("results are stored again")
                self._away = False


def is_mirrored(relative: Path) -> bool:
    """Whether the driver stores this file; names that begin with a dot are locks and unfinished files."""
    written_by_worker = len(relative.parts) > 2 and relative.parts[2] in (CHECKPOINTS, TENSORBOARD)
    return not written_by_worker and not any(part.startswith(".") for part in relative.parts)


def _files(root: Path) -> Iterator[Path]:
    return (path for path in _all_files(root) if is_mirrored(path.relative_to(root)))


def _all_files(root: Path) -> Iterator[Path]:
    """`os.walk`, unlike `rglob`, does not mind folders that vanish meanwhile."""
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in files if not name.startswith("."))


def _rank(path: Path) -> int:
    return _ORDER.index(path.name) if path.name in _ORDER else len(_ORDER)
