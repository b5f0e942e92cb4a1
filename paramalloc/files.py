"""Writing files so that a crash at any instant leaves the old content or the new, never half of one.

Always holds: a file that matters is written beside its final name, flushed, synced and renamed; JSON is strict
(no NaN or Infinity) and UTF-8; a line file that lost the tail of its last line in a crash is still readable.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def atomic_write(path: Path, content: str | bytes) -> None:
    """Replace `path` with `content`; readers see the old file or the whole new one.

    Errors: OSError naming the file when the folder cannot be written or the disk is full; `path` then keeps its old
    content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with _named(path), os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Atomically write strict, indented JSON. Errors: ValueError for NaN or Infinity, which JSON cannot hold."""
    atomic_write(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def append_jsonl(path: Path, row: dict[str, Any]) -> None:
    """Append one JSON line and sync it. A half line left by a crash is closed first, so it spoils only itself.

    Errors: OSError naming the file.
    """
    line = (json.dumps(row, allow_nan=False) + "\n").encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _named(path), path.open("ab+") as stream:
        if stream.tell() > 0:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                line = b"\n" + line
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Whoever is told of a full disk wants to know which; the system names no file when a write fails."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    atomic_write(path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """All whole rows of a line file; a missing file has none, a line torn by a crash is left out."""
    return list(whole_rows(path.read_bytes())) if path.exists() else []


def whole_rows(content: bytes) -> Iterator[dict[str, Any]]:
    """The rows in a part of a line file; lines that are none are left out."""
    for line in content.decode("utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            yield row
