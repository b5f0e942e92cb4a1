"""Source files: what is noted of each, and that a large one is read once, but never trusted too long."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest

from paramalloc.data import source_files as module
from paramalloc.data.source_files import data_file, text_file
from paramalloc.errors import UserError


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files read so far."""

    def read(path: Path, is_text: bool) -> str:
        done.append(path)
        return original(path, is_text)

    done: list[Path] = []
    original = module._read
    monkeypatch.setattr(module, "_read", read)
    return done


def later(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time() + 60
    monkeypatch.setattr(module.time, "time", lambda: now)


def test_a_settled_file_is_read_once(tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "text.txt"
    path.write_text("größer")
    later(monkeypatch)
    first, again = text_file(path, "dev", "name"), text_file(path, "train", "other")
    assert reads == [path]
    assert (first.split, first.name, first.bytes) == ("dev", "name", 8)
    assert first.sha256 == again.sha256 == hashlib.sha256("größer".encode()).hexdigest()
    path.write_text("kleiner.")
    assert text_file(path, "dev", "name").sha256 != first.sha256
    assert len(reads) == 2


def test_a_file_written_just_now_is_read_again(tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "text.txt"
    path.write_text("a")
    assert text_file(path, "dev", "name") == text_file(path, "dev", "name")
    assert len(reads) == 2


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"caf\xe9")
    assert data_file(path, "train", "file").bytes == 4  # not meant to be text
    with pytest.raises(UserError, match="not UTF-8"):
        text_file(path, "train", "file")
    with pytest.raises(UserError, match="cannot be read"):
        data_file(tmp_path, "train", "folder")
