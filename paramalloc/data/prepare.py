"""From a configured corpus to the tokens of one vocabulary: checked, tokenized, and cached by content.

Always holds: a cached folder is whole (built beside its final name, meta.json written last, renamed when finished)
and belongs to exactly this text, these settings and this vocabulary size; a damaged one is built again. Documents
are streamed, so memory does not grow with the train split.

    prepare(DataConfig(corpus="synthetic"), 4096, print)
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tokenizers import Tokenizer

from paramalloc.config import DataConfig
from paramalloc.data.corpus import Corpus, open_corpus
from paramalloc.data.documents import passages
from paramalloc.data.overlap import find_overlap, refuse
from paramalloc.data.splits import Split
from paramalloc.data.tokenizer import (
    END_OF_TEXT_ID,
    encode,
    token_dtype,
    tokenizer_hash,
    tokenizer_json,
    train_tokenizer,
)
from paramalloc.errors import UserError
from paramalloc.files import atomic_write, read_json, write_json

FORMAT_VERSION = 2  # raise it when what is computed or stored changes: old folders are then no longer found
META, TOKENIZER, TRAIN = "meta.json", "tokenizer.json", "train.bin"
HELD_OUT: dict[Split, str] = {"dev": "dev.npz", "test": "test.npz"}
PASSAGES = "passages.npz"
FILES = (TOKENIZER, TRAIN, *HELD_OUT.values(), PASSAGES)
Notify = Callable[[str], None]


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


def prepare(config: DataConfig, vocab_size: int, notify: Notify = lambda line: None) -> TokenSet:
    """The tokens of `config`'s corpus under a tokenizer of `vocab_size`, from the cache or built now.

    Errors: UserError for a corpus that cannot be read or is too small, for held-out text in train (unless
    `data.on_overlap` is drop_train), and for a cache folder that cannot be written.
    """
    corpus = open_corpus(config)
    folder = _folder(config, corpus, vocab_size)
    found = _load(folder)
    if found is not None:
        notify(f"tokens with a vocabulary of {vocab_size:,} taken from {folder}")
        return found
    building = _begin(folder)
    try:
        _build(building, config, corpus, vocab_size, notify)
        _publish(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    built = _load(folder)
    assert built is not None, f"what was just built cannot be read: {folder}"
    return built


def cached(config: DataConfig, vocab_size: int) -> TokenSet | None:
    """What `prepare` would return if that took no work, else None. No network. Errors: UserError as `open_corpus`."""
    return _load(_folder(config, open_corpus(config), vocab_size))


def _folder(config: DataConfig, corpus: Corpus, vocab_size: int) -> Path:
    key = json.dumps([FORMAT_VERSION, corpus.fingerprint(), config.on_overlap, vocab_size])
    return Path(config.cache_dir).expanduser() / hashlib.sha256(key.encode()).hexdigest()[:32]


def _begin(folder: Path) -> Path:
    """A fresh folder beside the final one, and a damaged final one out of the way. Errors: UserError."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        building.chmod(0o755)
        _remove(folder, building / "damaged")
    except OSError as error:
        raise UserError(
            "data.cache_dir", f"'{folder.parent}', which cannot be written ({error})", "give another folder"
        ) from error
    return building


def _remove(folder: Path, aside: Path) -> None:
    """Rename first, so that no other process sees half a folder."""
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        return  # the usual case: nothing is there
    shutil.rmtree(aside)


def _publish(building: Path, folder: Path) -> None:
    try:
        os.rename(building, folder)
    except OSError:
        if not folder.exists():
            raise
        # another process was faster; what it built is the same


def _build(folder: Path, config: DataConfig, corpus: Corpus, vocab_size: int, notify: Notify) -> None:
    """Every file of a cache folder, meta.json last."""
    dropped, checked = _check_overlap(config, corpus, notify)

    def train_documents() -> Iterable[str]:
        return (text for i, text in enumerate(corpus.documents("train")) if i not in dropped)

    begun = time.perf_counter()
    tokenizer = train_tokenizer(train_documents(), vocab_size)
    notify(f"training the tokenizer: {vocab_size:,} entries in {_seconds_since(begun)}")
    atomic_write(folder / TOKENIZER, tokenizer_json(tokenizer))
    meta: dict[str, Any] = {
        "corpus": corpus.name,
        "fingerprint": corpus.fingerprint(),
        "vocab_size": vocab_size,
        "tokenizer_hash": tokenizer_hash(tokenizer),
        "end_of_text": END_OF_TEXT_ID,
        "overlap": checked,
        "train": _write_train(folder / TRAIN, tokenizer, train_documents(), notify),
    }
    for split, name in HELD_OUT.items():
        begun = time.perf_counter()
        meta[split] = _write_held_out(folder / name, tokenizer, corpus.documents(split))
        notify(_tokenized(split, meta[split]["bytes"], meta[split]["tokens"], begun))
    pieces = chain.from_iterable(passages(document) for document in corpus.documents("dev"))
    _write_held_out(folder / PASSAGES, tokenizer, pieces)
    meta["file_bytes"] = {name: (folder / name).stat().st_size for name in FILES}
    write_json(folder / META, meta)


def _check_overlap(config: DataConfig, corpus: Corpus, notify: Notify) -> tuple[frozenset[int], dict[str, int]]:
    """Indexes of the training documents to leave out, and the counts for meta.json. Errors: UserError."""
    begun = time.perf_counter()
    held_out = chain.from_iterable(corpus.documents(split) for split in HELD_OUT)
    overlap = find_overlap(corpus.documents("train"), held_out)
    if config.on_overlap == "error":
        refuse(overlap)
    if len(overlap.documents) == overlap.train_documents:
        raise UserError("data.corpus", "a corpus whose training documents all share text with dev or test", "mend it")
    found = f"{len(overlap.documents):,} left out" if overlap.documents else "none"
    note = f", {overlap.boilerplate_lines:,} boilerplate lines" if overlap.boilerplate_lines else ""
    notify(
        f"looking for dev and test text in {overlap.train_documents:,} training documents: "
        f"{found}{note} in {_seconds_since(begun)}"
    )
    counts = {
        "dropped_documents": len(overlap.documents),
        "shared_texts": overlap.shared_texts,
        "boilerplate_lines": overlap.boilerplate_lines,
    }
    return overlap.documents, counts


def _write_train(path: Path, tokenizer: Tokenizer, documents: Iterable[str], notify: Notify) -> dict[str, int]:
    begun = time.perf_counter()
    end = token_dtype(tokenizer.get_vocab_size())(END_OF_TEXT_ID).tobytes()
    count = size = tokens = 0
    with path.open("wb") as stream:
        for document, ids in encode(tokenizer, documents):
            stream.write(ids.tobytes())
            stream.write(end)
            count, size, tokens = count + 1, size + len(document.encode()), tokens + len(ids) + 1
        _sync(stream)
    notify(_tokenized("train", size, tokens, begun))
    return {"documents": count, "bytes": size, "tokens": tokens}


def _write_held_out(path: Path, tokenizer: Tokenizer, documents: Iterable[str]) -> dict[str, int]:
    ids: list[np.ndarray] = []
    sizes: list[tuple[int, int]] = []
    for document, tokens in encode(tokenizer, documents):
        ids.append(tokens)
        sizes.append((len(document.encode()), len(document.split())))
    starts = np.concatenate([[0], np.cumsum([len(tokens) for tokens in ids])]).astype(np.int64)
    byte_counts, word_counts = np.array(sizes, dtype=np.int64).T
    with path.open("wb") as stream:
        np.savez(
            stream,
            tokens=np.concatenate(ids),
            starts=starts,
            bytes_per_document=byte_counts,
            words_per_document=word_counts,
        )
        _sync(stream)
    return {"documents": len(ids), "bytes": int(byte_counts.sum()), "tokens": int(starts[-1])}


def _load(folder: Path) -> TokenSet | None:
    """The folder's token set; None if the folder is not there or not whole."""
    try:
        meta = read_json(folder / META)
        sizes = meta["file_bytes"]
        if any((folder / name).stat().st_size != sizes[name] for name in FILES):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    train = np.memmap(folder / TRAIN, dtype=token_dtype(meta["vocab_size"]), mode="r")
    return TokenSet(
        vocab_size=meta["vocab_size"],
        tokenizer_hash=meta["tokenizer_hash"],
        end_of_text=meta["end_of_text"],
        train=train.view(np.ndarray),  # np.memmap itself is copied when it is pickled
        train_bytes=meta["train"]["bytes"],
        dev=_load_held_out(folder / HELD_OUT["dev"]),
        test=_load_held_out(folder / HELD_OUT["test"]),
        dev_passages=_load_held_out(folder / PASSAGES),
        tokenizer_file=folder / TOKENIZER,
    )


def _load_held_out(path: Path) -> HeldOut:
    with np.load(path) as arrays:
        return HeldOut(**arrays)


def _sync(stream: BinaryIO) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _tokenized(split: str, size: int, tokens: int, begun: float) -> str:
    return f"tokenizing {split}: {size / 1e6:.1f} MB -> {tokens / 1e6:.2f}M tokens in {_seconds_since(begun)}"


def _seconds_since(begun: float) -> str:
    return f"{time.perf_counter() - begun:.1f} s"
