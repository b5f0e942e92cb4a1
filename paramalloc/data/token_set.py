"""The tokens of one vocabulary, and the files of a cache folder that hold them.

Always holds: meta.json is written last and has the size and SHA-256 of every other file, so a folder without it, or
with a file of another size, is not whole. Loading looks at sizes; `damaged` reads everything.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from paramalloc.data.source_files import sha256_of_file
from paramalloc.data.splits import Split
from paramalloc.data.tokenizer import END_OF_TEXT_ID, token_dtype
from paramalloc.files import read_json, write_json

META, TOKENIZER, TRAIN, LENGTHS = "meta.json", "tokenizer.json", "train.bin", "lengths.json"
HELD_OUT: dict[Split, str] = {"dev": "dev.npz", "test": "test.npz"}
PASSAGES = "passages.npz"
FILES = (TOKENIZER, TRAIN, *HELD_OUT.values(), PASSAGES, LENGTHS)
Encoded = Iterable[tuple[str, np.ndarray]]  # documents, each with its tokens (n,)
_TEXT_SEPARATOR = b"\xff"  # stands in no UTF-8


@dataclass(frozen=True)
class HeldOut:
    """One held-out split under one tokenizer; D documents, N tokens in all."""

    tokens: np.ndarray  # (N,) uint16 or uint32, the documents one after another, without end-of-text
    starts: np.ndarray  # (D + 1,) int64, where each document begins in `tokens`; the last is N
    bytes_per_document: np.ndarray  # (D,) int64, UTF-8 bytes of the original text
    words_per_document: np.ndarray  # (D,) int64, words separated by white space


@dataclass(frozen=True)
class TokenSet:
    """All that one vocabulary needs to be trained on. Plain numpy inside: zero-copy through an object store."""

    vocab_size: int
    tokenizer_hash: str
    end_of_text: int
    train: np.ndarray  # (N,) uint16 or uint32, read-only and memory-mapped; end-of-text after each document
    train_bytes: int  # UTF-8 bytes of the training documents
    dev: HeldOut
    test: HeldOut
    dev_passages: HeldOut  # the text of dev in pieces of one or two thousand tokens, to sample from
    tokenizer_file: Path


class SplitSummary:
    """What is counted while a split is written. `lengths`: documents by their number of tokens."""

    def __init__(self) -> None:
        self.documents = self.bytes = self.tokens = 0
        self.lengths: Counter[int] = Counter()  # at most sqrt(2 * tokens) entries, so it stays small
        self._digest = hashlib.sha256()

    def add(self, content: bytes, tokens: int) -> None:
        """One document, in UTF-8."""
        self.documents, self.bytes, self.tokens = self.documents + 1, self.bytes + len(content), self.tokens + tokens
        self.lengths[tokens] += 1
        self._digest.update(content)
        self._digest.update(_TEXT_SEPARATOR)

    def as_json(self) -> dict[str, Any]:
        """Its part of meta.json. `sha256` is that of the documents in order, a byte 0xFF after each."""
        numbers = {"documents": self.documents, "bytes": self.bytes, "tokens": self.tokens}
        return numbers | {"sha256": self._digest.hexdigest()}


def write_train(path: Path, vocab_size: int, encoded: Encoded, advance: Callable[[int], None]) -> SplitSummary:
    """Stream the training documents, an end-of-text after each."""
    end = token_dtype(vocab_size)(END_OF_TEXT_ID).tobytes()
    summary = SplitSummary()
    with path.open("wb") as stream:
        for document, ids in encoded:
            stream.write(ids.tobytes())
            stream.write(end)
            content = document.encode()
            summary.add(content, len(ids))
            advance(len(content))
        _sync(stream)
    return summary


def write_held_out(path: Path, encoded: Encoded) -> SplitSummary:
    summary = SplitSummary()
    ids: list[np.ndarray] = []
    sizes: list[tuple[int, int]] = []
    for document, tokens in encoded:
        content = document.encode()
        summary.add(content, len(tokens))
        ids.append(tokens)
        sizes.append((len(content), len(document.split())))
    byte_counts, word_counts = np.array(sizes, dtype=np.int64).T
    with path.open("wb") as stream:
        np.savez(
            stream,
            tokens=np.concatenate(ids),
            starts=np.concatenate([[0], np.cumsum([len(tokens) for tokens in ids])]).astype(np.int64),
            bytes_per_document=byte_counts,
            words_per_document=word_counts,
        )
        _sync(stream)
    return summary


def write_lengths(path: Path, summaries: dict[Split, SplitSummary]) -> None:
    """How many documents have how many tokens: `{"train": {"17": 3, ...}, ...}`."""
    ordered = {split: sorted(summary.lengths.items()) for split, summary in summaries.items()}
    write_json(path, {split: {str(tokens): count for tokens, count in rows} for split, rows in ordered.items()})


def write_meta(folder: Path, meta: dict[str, Any]) -> None:
    """Finish a folder whose other files are all written."""
    paths = {name: folder / name for name in FILES}
    files = {name: {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)} for name, path in paths.items()}
    write_json(folder / META, meta | {"files": files})


def read_meta(tokens: TokenSet) -> dict[str, Any]:
    """What was noted when these tokens were made."""
    return read_json(tokens.tokenizer_file.parent / META)


def read_lengths(tokens: TokenSet) -> dict[Split, dict[int, int]]:
    """By split, how many documents have how many tokens (without end-of-text), from the shortest up."""
    raw = read_json(tokens.tokenizer_file.parent / LENGTHS)
    return {split: {int(length): count for length, count in rows.items()} for split, rows in raw.items()}


def load_token_set(folder: Path) -> TokenSet | None:
    """The folder's token set; None if the folder is not there or not whole."""
    try:
        meta = read_json(folder / META)
        if any((folder / name).stat().st_size != meta["files"][name]["bytes"] for name in FILES):
            return None
        train = np.memmap(folder / TRAIN, dtype=token_dtype(meta["vocab_size"]), mode="r")
        return TokenSet(
            vocab_size=meta["vocab_size"],
            tokenizer_hash=meta["tokenizer_hash"],
            end_of_text=meta["end_of_text"],
            train=train.view(np.ndarray),  # np.memmap itself is copied when it is pickled
            train_bytes=meta["splits"]["train"]["bytes"],
            dev=_load_held_out(folder / HELD_OUT["dev"]),
            test=_load_held_out(folder / HELD_OUT["test"]),
            dev_passages=_load_held_out(folder / PASSAGES),
            tokenizer_file=folder / TOKENIZER,
        )
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return None


def damaged(folder: Path) -> list[str]:
    """The files of a whole folder whose content is no longer what was written. Errors: OSError."""
    files = read_json(folder / META)["files"]
    return [name for name in FILES if sha256_of_file(folder / name) != files[name]["sha256"]]


def _load_held_out(path: Path) -> HeldOut:
    with np.load(path) as arrays:
        return HeldOut(**arrays)


def _sync(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())
