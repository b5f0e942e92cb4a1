"""The files that a corpus is read from, each with its size and SHA-256, for fingerprints and the manifest.

Always holds: a large file is read once in a process, however often it is asked about, as long as nobody writes to it.
"""

from __future__ import annotations

import codecs
import hashlib
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from paramalloc.data.splits import Split
from paramalloc.errors import UserError

_BLOCK_BYTES = 1 << 20
_SETTLED_SECONDS = 2.0  # time stamps are coarse: a file changed just now may change again under the same one


@dataclass(frozen=True)
class SourceFile:
    """`name` is relative to what the user named; `split` is the one that the file is read for."""

    split: Split
    name: str
    bytes: int
    sha256: str


def text_file(path: Path, split: Split, name: str) -> SourceFile:
    """Errors: UserError("data.corpus", ...) for a file that cannot be read or is not UTF-8."""
    return _source_file(path, split, name, is_text=True)


def data_file(path: Path, split: Split, name: str) -> SourceFile:
    """The same for a file of another format. Errors: UserError for one that cannot be read."""
    return _source_file(path, split, name, is_text=False)


def sha256_of_file(path: Path) -> str:
    """Errors: OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _source_file(path: Path, split: Split, name: str, is_text: bool) -> SourceFile:
    try:
        state = path.stat()
        settled = time.time() - max(state.st_mtime, state.st_ctime) > _SETTLED_SECONDS
        stamp = (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        sha256 = _remembered(path, is_text, stamp) if settled else _read(path, is_text)
        return SourceFile(split, name, state.st_size, sha256)
    except UnicodeDecodeError as error:
        raise UserError(
            "data.corpus", f"'{path}', which is not UTF-8 ({error.reason})", "convert it to UTF-8"
        ) from error
    except OSError as error:
        raise UserError("data.corpus", f"'{path}', which cannot be read ({error})", "allow reading it") from error


@lru_cache(maxsize=100_000)
def _remembered(path: Path, is_text: bool, stamp: tuple[int, ...]) -> str:
    return _read(path, is_text)


def _read(path: Path, is_text: bool) -> str:
    """SHA-256 of the content. Errors: OSError; UnicodeDecodeError for text that is not UTF-8."""
    if not is_text:
        return sha256_of_file(path)
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
            decoder.decode(block)
        decoder.decode(b"", final=True)
    return digest.hexdigest()
