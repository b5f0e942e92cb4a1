"""Where the text comes from: a file or folder, WikiText through the Hub, or the built-in synthetic source.

Always holds: documents come as iterators of their original text, never empty, in the same order each time; opening a
corpus uses no network; the fingerprint changes whenever the text or a setting that shapes it does.

A folder with train.txt holds its splits: train.txt, valid.txt (or validation.txt, dev.txt) and test.txt, .jsonl as
well; other files in it are ignored, and a missing held-out split is cut from train. In any other folder all .txt and
.jsonl files, in sorted order, are the text, and dev and test are cut from it. A folder with parquet files (`text`
column) is read from these alone: train-*.parquet, validation-*.parquet, test-*.parquet, or all of them together.
"""

from __future__ import annotations

import codecs
import difflib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Protocol

from paramalloc.config import DataConfig
from paramalloc.data import hub
from paramalloc.data.documents import Grouping, group_lines, read_documents, read_lines, sniff_grouping
from paramalloc.data.splits import Cut, Split, plan_cut
from paramalloc.data.synthetic import SyntheticCorpus
from paramalloc.errors import UserError

BUILT_IN = ("synthetic", *hub.WIKITEXT_CONFIGS)
_STEMS: dict[str, Split] = {"train": "train", "valid": "dev", "validation": "dev", "dev": "dev", "test": "test"}
_TEXT_SUFFIXES = (".txt", ".jsonl")
_PARQUET = ".parquet"
_BLOCK_BYTES = 1 << 20
Source = Callable[[], Iterator[str]]


class Corpus(Protocol):
    """`name` is the configured one: synthetic, wikitext-2, wikitext-103 or the path as given."""

    name: str

    def documents(self, split: Split) -> Iterator[str]:
        """The original texts of one split, none of them empty."""

    def size_bytes(self) -> tuple[int, bool]:
        """UTF-8 bytes of the train split's documents, and whether that is exact; never through the network."""

    def fingerprint(self) -> str:
        """Changes whenever the text or the settings that shape the documents change."""


class TextCorpus:
    """Documents from sources; held-out splits without a source are cut from the train source."""

    def __init__(
        self,
        name: str,
        sources: Mapping[Split, Source],
        held_out_fraction: float,
        identity: object,
        published_bytes: int | None = None,
    ) -> None:
        self.name, self._sources, self._fraction = name, dict(sources), held_out_fraction
        self._identity, self._published_bytes = identity, published_bytes

    def documents(self, split: Split) -> Iterator[str]:
        """Errors: UserError when the split has no text, or too little text is there to cut it from."""
        return _at_least_one(self._documents(split), self.name, split)

    def size_bytes(self) -> tuple[int, bool]:
        if self._published_bytes is not None:
            return self._published_bytes, False
        return self._train_bytes, True

    def fingerprint(self) -> str:
        settings = [self._identity, self._fraction if self._missing else None]
        return hashlib.sha256(json.dumps(settings).encode()).hexdigest()

    def _documents(self, split: Split) -> Iterator[str]:
        if split != "train" and split in self._sources:
            return self._sources[split]()
        if not self._missing:
            return self._sources["train"]()
        return (document for document in self._sources["train"]() if self._cut.split_of(document) == split)

    @property
    def _missing(self) -> tuple[Split, ...]:
        return tuple(split for split in ("dev", "test") if split not in self._sources)

    @cached_property
    def _cut(self) -> Cut:
        return plan_cut(self._sources["train"](), self._missing, self._fraction)

    @cached_property
    def _train_bytes(self) -> int:
        return sum(len(document.encode()) for document in self.documents("train"))


def open_corpus(config: DataConfig) -> Corpus:
    """The corpus that `config` names. Files are read through once here, to check and to fingerprint them.

    Errors: UserError("data.corpus", ...) for an unknown name, a missing path, a folder without text, non-UTF-8 text.
    """
    name = config.corpus
    if name == "synthetic":
        return SyntheticCorpus(config.synthetic_bytes, config.seed, config.held_out_fraction)
    if name in hub.WIKITEXT_CONFIGS:
        return _wikitext(name, config)
    path = Path(name).expanduser()
    if not path.exists():
        raise UserError(
            "data.corpus", f"'{name}', which is neither a built-in corpus nor a path", _names_allowed(name)
        )
    files = _files_by_split(path)
    grouping = _grouping(config, files["train"])
    sources: dict[Split, Source] = {split: partial(_read_all, paths, grouping) for split, paths in files.items()}
    identity = [grouping, {split: [_digest(file) for file in paths] for split, paths in files.items()}]
    return TextCorpus(name, sources, config.held_out_fraction, identity)


def _wikitext(name: str, config: DataConfig) -> TextCorpus:
    if config.documents == "file":
        raise UserError(
            "data.documents", f"file with {name}, which has no files", "allowed: auto, article, blank_line"
        )
    grouping: Grouping = "article" if config.documents == "auto" else config.documents
    splits: tuple[Split, ...] = ("train", "dev", "test")
    sources: dict[Split, Source] = {
        split: partial(_regroup, partial(hub.wikitext_rows, name, split), grouping) for split in splits
    }
    identity = [hub.WIKITEXT, hub.WIKITEXT_CONFIGS[name], hub.REVISION, grouping]
    return TextCorpus(
        name, sources, config.held_out_fraction, identity, published_bytes=hub.PUBLISHED_TRAIN_BYTES[name]
    )


def _regroup(rows: Source, grouping: Grouping) -> Iterator[str]:
    return group_lines(rows(), grouping)


def _names_allowed(name: str) -> str:
    close = difflib.get_close_matches(name, BUILT_IN, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}allowed: {', '.join(BUILT_IN)}, or the path of a file or folder of text"


def _files_by_split(path: Path) -> dict[Split, list[Path]]:
    if path.is_file():
        return {"train": [path]}
    parquet = sorted(path.rglob(f"*{_PARQUET}"))
    if parquet:
        return _parquet_by_split(path, parquet)
    named: dict[Split, list[Path]] = {}
    for file in sorted(path.iterdir()):
        if file.is_file() and file.stem in _STEMS and file.suffix in _TEXT_SUFFIXES:
            named.setdefault(_STEMS[file.stem], []).append(file)
    if "train" not in named:
        files = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix in _TEXT_SUFFIXES)
        if not files:
            raise UserError("data.corpus", f"'{path}', a folder without text", "put .txt or .jsonl files into it")
        return {"train": files}
    for split, files in named.items():
        if len(files) > 1:
            found = ", ".join(file.name for file in files)
            raise UserError("data.corpus", f"'{path}' with {found}, all of them the {split} split", "keep one")
    return named


def _parquet_by_split(path: Path, files: list[Path]) -> dict[Split, list[Path]]:
    """By the beginning of the file name, as the Hub writes them: train-00000-of-00002.parquet, validation-..."""
    by_split: dict[Split, list[Path]] = {}
    for file in files:
        for stem, split in _STEMS.items():
            if file.name.startswith((stem + "-", stem + ".")):
                by_split.setdefault(split, []).append(file)
    if by_split and "train" not in by_split:
        raise UserError("data.corpus", f"'{path}', parquet files without a train split", "add train-*.parquet")
    return by_split or {"train": files}


def _grouping(config: DataConfig, files: list[Path]) -> Grouping:
    if config.documents != "auto":
        return config.documents
    if files[0].suffix == _PARQUET:
        found = sniff_grouping(hub.parquet_rows(files), len(files))
        return found if found == "article" else "file"
    texts = [file for file in files if file.suffix != ".jsonl"]
    return sniff_grouping(read_lines(texts[0]), len(texts)) if texts else "file"


def _read_all(files: list[Path], grouping: Grouping) -> Iterator[str]:
    if files[0].suffix != _PARQUET:
        return chain.from_iterable(read_documents(file, grouping) for file in files)
    if grouping == "file":  # nothing to regroup: a row is a document
        return (text for text in hub.parquet_rows(files) if text.strip())
    return group_lines(hub.parquet_rows(files), grouping)


def _digest(file: Path) -> str:
    """SHA-256 of the content. Errors: UserError for a file that cannot be read, or text that is not UTF-8."""
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    is_text = file.suffix != _PARQUET
    try:
        with file.open("rb") as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
                if is_text:
                    decoder.decode(block)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise UserError(
            "data.corpus", f"'{file}', which is not UTF-8 ({error.reason})", "convert it to UTF-8"
        ) from error
    except OSError as error:
        raise UserError("data.corpus", f"'{file}', which cannot be read ({error})", "allow reading it") from error
    return digest.hexdigest()


def _at_least_one(documents: Iterator[str], name: str, split: Split) -> Iterator[str]:
    empty = True
    for document in documents:
        empty = False
        yield document
    if empty:
        raise UserError(
            "data.corpus", f"'{name}' without any text in its {split} split", "every split needs some text"
        )
