"""Checkpoints that a crash cannot spoil: a folder each, whose manifest with the hash of every file is written last.

Always holds: `newest()` returns a state that was saved whole and in this version's format, stepping back over other
folders; saving never touches an older checkpoint before the new one is complete; loading runs no code from the file.

    checkpoint/step-00001200/  model.safetensors  training.pt  manifest.json
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from paramalloc.files import read_json, write_json

_MODEL, _TRAINING, _MANIFEST = "model.safetensors", "training.pt", "manifest.json"
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

    def save(self, step: int, model: nn.Module, training: dict[str, Any]) -> None:
        """Write a checkpoint; `training` holds tensors and plain values only. Errors: OSError (disk full)."""
        target = self.folder / f"step-{step:08d}"
        self._write(target, step, model, training)
        kept = [path for path in self._steps() if path.name <= target.name][: self.keep]
        for path in set(self._steps()) - set(kept):  # a later step can only be one that `newest` stepped over
            shutil.rmtree(path, ignore_errors=True)

    def save_best(self, step: int, model: nn.Module, training: dict[str, Any]) -> None:
        """Replace the checkpoint named `best`, which `newest()` never returns."""
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

    def _write(self, target: Path, step: int, model: nn.Module, training: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for stale in self.folder.glob(".writing-*"):
            shutil.rmtree(stale, ignore_errors=True)
        building = self.folder / f".writing-{target.name}"
        building.mkdir()
        save_model(model, str(building / _MODEL))
        torch.save(training, building / _TRAINING)
        files = {name: _sha256(building / name) for name in (_MODEL, _TRAINING)}
        write_json(building / _MANIFEST, {"format": FORMAT_VERSION, "step": step, "sha256": files})
        _sync_folder(building)
        if target.exists():
            replaced = self.folder / f".writing-replaced-{target.name}"
            os.rename(target, replaced)
            os.rename(building, target)
            shutil.rmtree(replaced, ignore_errors=True)
        else:
            os.rename(building, target)
        _sync_folder(self.folder)

    def _read(self, path: Path) -> Checkpoint | None:
        try:
            manifest = read_json(path / _MANIFEST)
            if manifest.get("format") != FORMAT_VERSION:
                raise ValueError(f"format {manifest.get('format')}, read is {FORMAT_VERSION}")
            damaged = [name for name, digest in manifest["sha256"].items() if _sha256(path / name) != digest]
            if damaged:
                raise ValueError(f"{', '.join(damaged)} changed since it was written")
            training = torch.load(path / _TRAINING, weights_only=True)
            return Checkpoint(path, manifest["step"], training)
        except FileNotFoundError as error:
            if path.exists():
                self._report_unusable(path, f"{Path(error.filename).name} is missing")
        except (OSError, ValueError, KeyError, UnpicklingError) as error:
            self._report_unusable(path, str(error))
        return None

    def _report_unusable(self, path: Path, problem: str) -> None:
        if self.notify:
            self.notify(f"checkpoint {path.name} cannot be used ({problem}); using the one before")


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
