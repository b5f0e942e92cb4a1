"""A trial's checkpoints where every machine can reach them.

Always holds: without storage this is the trial's folder alone; with it, what S3 has is the truth and the folder a
cache, so a trial carries on from its newest checkpoint whichever machine it is placed on, and never from one that
another sweep left on a machine's disk. A checkpoint is in S3 when `save` returns; its manifest goes last.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paramalloc.results import TrialFolder
from paramalloc.storage.objects import Objects, open_objects
from paramalloc.training.checkpoint import BEST, MANIFEST, Checkpoint, CheckpointStore, is_whole
from paramalloc.training.snapshot import HasWeights


def open_checkpoints(folder: TrialFolder, notify: Callable[[str], None] | None = None) -> CheckpointStore:
    """The checkpoints of one trial; `notify` is told in words of one that was stepped over.

    Errors: UserError for an address or settings that cannot be used.
    """
    if folder.storage is None:
        return CheckpointStore(folder.checkpoints, notify=notify)
    return SharedCheckpoints(folder, open_objects(f"{folder.storage}/{folder.stage}/{folder.name}"), notify=notify)


class SharedCheckpoints(CheckpointStore):
    """Checkpoints in S3, with a copy in the trial's folder on this machine.

    TensorBoard's files go along where they have grown, so that the curves in S3 are never behind the checkpoint.

    Errors: StorageError (an OSError) from whatever S3 does not do.
    """

    def __init__(
        self, folder: TrialFolder, objects: Objects, keep: int = 2, notify: Callable[[str], None] | None = None
    ) -> None:
        super().__init__(folder.checkpoints, keep, notify)
        self._objects, self._curves = objects, folder.tensorboard
        self._prefix = f"{folder.checkpoints.name}/"
        self._curves_stored: dict[str, tuple[int, int]] = {}  # `_version` by name

    def save(self, step: int, model: HasWeights, training: dict[str, Any]) -> None:
        super().save(step, model, training)
        self._send(self.folder / f"step-{step:08d}")
        self._send_curves()
        stored = self._stored()
        usable = [name for name in stored if self.folder / name not in self._unusable]
        self._drop(set(stored) - set(usable[: self.keep]))

    def save_best(self, step: int, model: HasWeights, training: dict[str, Any]) -> None:
        super().save_best(step, model, training)
        self._send(self.folder / BEST)

    def newest(self) -> Checkpoint | None:
        """The newest usable checkpoint in S3, fetched to this machine's folder; None where there is none."""
        self._fetch_curves()
        stored = self._stored()
        for path in set(self._steps()) - {self.folder / name for name in stored}:
            shutil.rmtree(path, ignore_errors=True)
        return next((found for name in stored if (found := self._fetch(name))), None)

    def best(self) -> Checkpoint | None:
        return self._fetch(BEST) if self._objects.names(f"{self._prefix}{BEST}/") else None

    def remove(self) -> None:
        super().remove()
        self._objects.delete(self._objects.names(self._prefix))

    def _stored(self) -> list[str]:
        """Names of the checkpoints in S3, the newest first; one without a manifest is none."""
        names = (name.removeprefix(self._prefix) for name in self._objects.names(f"{self._prefix}step-"))
        return sorted((name.split("/")[0] for name in names if name.endswith(f"/{MANIFEST}")), reverse=True)

    def _send(self, path: Path) -> None:
        """The manifest last; where another version stands, it goes first, for it would not fit the new files."""
        manifest = f"{self._prefix}{path.name}/{MANIFEST}"
        self._objects.delete([manifest])
        for file in sorted(path.iterdir(), key=lambda file: file.name == MANIFEST):
            self._objects.send(file, f"{self._prefix}{path.name}/{file.name}")

    def _send_curves(self) -> None:
        for path in self._curves.glob("*"):
            version = _version(path)  # first: what is added meanwhile goes with the next checkpoint
            if self._curves_stored.get(path.name) != version:
                self._objects.send(path, f"{self._curves.name}/{path.name}")
                self._curves_stored[path.name] = version

    def _fetch(self, name: str) -> Checkpoint | None:
        """A checkpoint in S3; the copy in the folder serves where it is the same and whole."""
        prefix, target = f"{self._prefix}{name}/", self.folder / name
        stored = self._objects.get(f"{prefix}{MANIFEST}")
        if not (stored and is_whole(target) and (target / MANIFEST).read_bytes() == stored.content):
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            for file in self._objects.names(prefix):
                self._objects.fetch(file, target / Path(file).name)
        return self._read(target)

    def _fetch_curves(self) -> None:
        """Earlier attempts' curves, elsewhere, by whose names the next attempt's are numbered."""
        for name in self._objects.names(f"{self._curves.name}/"):
            path = self._curves / Path(name).name
            if not path.exists():
                self._objects.fetch(name, path)
                self._curves_stored[path.name] = _version(path)

    def _drop(self, names: set[str]) -> None:
        for name in names:
            self._objects.delete(self._objects.names(f"{self._prefix}{name}/"))


def _version(path: Path) -> tuple[int, int]:
    """Modification time and size, by which a file that has grown is told from one that has not."""
    about = path.stat()
    return about.st_mtime_ns, about.st_size
