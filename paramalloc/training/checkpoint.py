"""Checkpoints that a crash cannot spoil: a folder each, whose manifest with the hash of every file is written last.

Always holds: `newest()` returns a state that was saved whole and in this version's format, stepping back over other
folders; saving never touches an older checkpoint before the new one is complete, and a save that fails leaves nothing
behind; two processes that save the same trial (one of them cut off from the cluster, say) do not delete each other's
newest; loading runs no code from the file.

    checkpoint/step-00001200/  model.safetensors  training.pt  manifest.json
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from uuid import uuid4

import torch
from safetensors.torch import load_model
from safetensors.torch import save as serialize
from torch import nn

from paramalloc.files import read_json, write_json
from paramalloc.training.snapshot import HasWeights, distinct

_MODEL, _TRAINING, MANIFEST = "model.safetensors", "training.pt", "manifest.json"
_UNFINISHED = ".writing-"
BEST = "best"
FORMAT_VERSION = 2  # raise it when the files or the state in them change: older checkpoints are then stepped over


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint folder and the plain values beside the weights (`training.pt`)."""

    path: Path
    step: int
    training: dict[str, Any]

    def load_weights(self, model: nn.Module) -> None:
        load_model(model, str(self.path / _MODEL))


class CheckpointStore:
    """The checkpoints of one trial: the newest `keep` by step, and one named `best`.

    Args:
        folder: `<stage>/<trial>/checkpoint`; made when first needed.
        keep: how many recent checkpoints stay; two, so that a damaged newest one costs one interval.
        notify: told in words of a checkpoint that was stepped over.
    """

    def __init__(self, folder: Path, keep: int = 2, notify: Callable[[str], None] | None = None) -> None:
        self.folder, self.keep, self.notify = folder, keep, notify
        self._unusable: set[Path] = set()
        self._swept = False

    def save(self, step: int, model: HasWeights, training: dict[str, Any]) -> None:
        """Write a checkpoint; `training` holds tensors and plain values only.

        Errors: OSError (disk full); the older checkpoints are then as they were.
        """
        target = self.folder / f"step-{step:08d}"
        self._write(target, step, model, training)
        usable = [path for path in self._steps() if path not in self._unusable]
        for path in set(self._steps()) - set(usable[: self.keep]):
            shutil.rmtree(path, ignore_errors=True)

    def save_best(self, step: int, model: HasWeights, training: dict[str, Any]) -> None:
        """Replace the checkpoint named `best`, which `newest()` never returns. Errors: as for `save`."""
        self._write(self.folder / BEST, step, model, training)

    def newest(self) -> Checkpoint | None:
        """The newest usable checkpoint, or None where there is none."""
        return next((found for path in self._steps() if (found := self._read(path))), None)

    def best(self) -> Checkpoint | None:
        return self._read(self.folder / BEST)

    def remove(self) -> None:
        """Delete every checkpoint of this trial."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _steps(self) -> Iterator[Path]:
        return iter(sorted(self.folder.glob("step-*"), reverse=True))

    def _write(self, target: Path, step: int, model: HasWeights, training: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        building = self.folder / f"{_UNFINISHED}{target.name}-{uuid4().hex}"
        try:
            building.mkdir()
            hashes = {
                _MODEL: _put(building / _MODEL, serialize(distinct(model.state_dict()))),
                _TRAINING: _put(building / _TRAINING, _pickled(training)),
            }
            write_json(building / MANIFEST, {"format": FORMAT_VERSION, "step": step, "sha256": hashes})
            _sync_folder(building)
            _move(building, target)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise
        self._unusable.discard(target)
        _sync_folder(self.folder)

    def _sweep(self) -> None:
        """Clear away what a killed process left; once, for later another one may be writing here."""
        if not self._swept:
            for stale in self.folder.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(stale, ignore_errors=True)
        self._swept = True

    def _read(self, path: Path) -> Checkpoint | None:
        try:
            manifest = _read_manifest(path)
            _require_whole(path, manifest)
            training = torch.load(path / _TRAINING, weights_only=True)
            return Checkpoint(path, manifest["step"], training)
        except FileNotFoundError as error:
            if path.exists():
                self._step_over(path, f"{Path(error.filename).name} is missing")
        except (OSError, ValueError, UnpicklingError) as error:
            self._step_over(path, str(error))
        return None

    def _step_over(self, path: Path, problem: str) -> None:
        self._unusable.add(path)
        if self.notify:
            self.notify(f"checkpoint {path.name} cannot be used ({problem}); using the one before")


def _read_manifest(path: Path) -> dict[str, Any]:
    """`{"format", "step", "sha256": {file name: digest}}`. Errors: OSError; ValueError that says what is wrong."""
    try:
        manifest = read_json(path / MANIFEST)
    except ValueError as error:
        raise ValueError(f"{MANIFEST} is not JSON") from error
    if not isinstance(manifest, dict):
        raise ValueError(f"{MANIFEST} is no manifest")
    if manifest.get("format") != FORMAT_VERSION:
        raise ValueError(f"format {manifest.get('format')}, read is {FORMAT_VERSION}")
    hashes, step = manifest.get("sha256"), manifest.get("step")
    whole = isinstance(hashes, dict) and hashes.keys() == {_MODEL, _TRAINING} and isinstance(step, int)
    if not whole or path.name not in (BEST, f"step-{step:08d}"):
        raise ValueError(f"{MANIFEST} changed since it was written")
    return manifest


def is_whole(path: Path) -> bool:
    """Whether a checkpoint folder holds what its manifest says."""
    try:
        _require_whole(path, _read_manifest(path))
    except (OSError, ValueError):
        return False
    return True


def _require_whole(path: Path, manifest: dict[str, Any]) -> None:
    """Errors: ValueError that names the files which are not what was written; OSError for one that is missing."""
    damaged = [name for name, digest in manifest["sha256"].items() if _sha256(path / name) != digest]
    if damaged:
        raise ValueError(f"{', '.join(damaged)} changed since it was written")


def _move(building: Path, target: Path) -> None:
    """Rename a complete folder to its place; one that is there already goes, or comes back if that fails."""
    if not target.exists():
        os.rename(building, target)
        return
    replaced = building.with_name(f"{building.name}-replaced")
    os.rename(target, replaced)
    try:
        os.rename(building, target)
    except OSError:
        os.rename(replaced, target)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _pickled(training: dict[str, Any]) -> memoryview:
    """`torch.save` in memory: straight to a file, it turns a full disk into a RuntimeError about positions."""
    stream = io.BytesIO()
    torch.save(training, stream)
    return stream.getbuffer()


def _put(path: Path, data: bytes | memoryview) -> str:
    """Write a file; returns the hash of what ought to be in it. Errors: OSError."""
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, not only the contents of its files (POSIX)."""
    for path in [*folder.iterdir(), folder]:
        if path.is_dir() and path != folder:
            continue
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
