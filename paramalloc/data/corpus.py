"""Where the text comes from: a file or folder, WikiText through the Hub, or the built-in synthetic source.

Always holds: documents come as iterators of their original text, never empty, in the same order each time; opening a
corpus uses no network; the fingerprint changes whenever the text or a setting that shapes it does.

A folder with train.txt holds its splits: train.txt, valid.txt (or validation.txt, dev.txt) and test.txt, .jsonl as
well; other files in it are ignored, and a missing held-out split is cut from train. In any other folder all .txt and
.jsonl files, in sorted order, are the text, and dev and test are cut from it. A folder with parquet files (`text`
column) is read from these alone: train-*.parquet, validation-*.parquet, test-*.parquet, or all of them together.
What is cut is the held-out fraction, but no more than 5 MB a split: more would only make every evaluation slower.
"""

from __future__ import annotations

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
from paramalloc.data.source_files import SourceFile, data_file, text_file
from paramalloc.data.splits import Cut, Split, plan_cut
from paramalloc.data.synthetic import SyntheticCorpus
from paramalloc.errors import UserError

BUILT_IN = ("synthetic", *hub.WIKITEXT_CONFIGS)
_HELD_OUT: tuple[Split, ...] = ("dev", "test")
_STEMS: dict[str, Split] = {"train": "train", "valid": "dev", "validation": "dev", "dev": "dev", "test": "test"}
_TEXT_SUFFIXES = (".txt", ".jsonl")
_PARQUET = ".parquet"
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
    """Documents from sources; held-out splits without a source are cut from the train source.

    `grouping` says what a document is, `cut_from_train` which splits are cut; `files` are those of a corpus on disk.
    """

    def __init__(
        self,
        name: str,
        sources: Mapping[Split, Source],
        grouping: Grouping,
        config: DataConfig,
        identity: object,
        files: tuple[SourceFile, ...] = (),
        published_bytes: int | None = None,
    ) -> None:
        self.name, self.grouping, self.files = name, grouping, files
        self.cut_from_train: tuple[Split, ...] = tuple(split for split in _HELD_OUT if split not in sources)
        self._sources = dict(sources)
        self._held_out = (config.held_out_fraction, config.held_out_max_bytes)
        self._identity, self._published_bytes = identity, published_bytes

    def documents(self, split: Split) -> Iterator[str]:
        """Errors: UserError when the split has no text, or too little text is there to cut it from."""
        return _at_least_one(self._documents(split), self.name, split)

    def size_bytes(self) -> tuple[int, bool]:
        if self._published_bytes is not None:
            return self._published_bytes, False
        if self.cut_from_train:
            return self._cut.train_bytes, True
        return sum(len(document.encode()) for document in self.documents("train")), True

    def fingerprint(self) -> str:
        cut = self._held_out if self.cut_from_train else None
        return hashlib.sha256(json.dumps([self._identity, cut]).encode()).hexdigest()

    def _documents(self, split: Split) -> Iterator[str]:
        if split in self.cut_from_train:
            return iter(self._cut.held_out[split].values())
        if split == "train" and self.cut_from_train:
            return self._cut.train(self._sources["train"]())
        return self._sources[split]()

    @cached_property
    def _cut(self) -> Cut:
        return plan_cut(self._sources["train"](), self.cut_from_train, *self._held_out)


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
    by_split = _files_by_split(path)
    files = {split: [_described(file, split, path) for file in paths] for split, paths in by_split.items()}
    grouping = _grouping(config, by_split["train"])
    return TextCorpus(
        name,
        {split: partial(_read_all, paths, grouping) for split, paths in by_split.items()},
        grouping,
        config,
        identity=[grouping, {split: [file.sha256 for file in files[split]] for split in by_split}],
        files=tuple(chain.from_iterable(files.values())),
    )


def _wikitext(name: str, config: DataConfig) -> TextCorpus:
    if config.documents == "file":
        raise UserError(
            "data.documents", f"file with {name}, which has no files", "allowed: auto, article, blank_line"
        )
    grouping: Grouping = "article" if config.documents == "auto" else config.documents
    sources: dict[Split, Source] = {
        split: partial(_regroup, partial(hub.wikitext_rows, name, split), grouping) for split in hub.HUB_SPLITS
    }
    return TextCorpus(
        name,
        sources,
        grouping,
        config,
        identity=[hub.WIKITEXT.repository, hub.WIKITEXT_CONFIGS[name], hub.WIKITEXT.revision, grouping],
        published_bytes=hub.PUBLISHED_TRAIN_BYTES[name],
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


def _described(file: Path, split: Split, corpus: Path) -> SourceFile:
    name = file.name if file == corpus else file.relative_to(corpus).as_posix()
    return data_file(file, split, name) if file.suffix == _PARQUET else text_file(file, split, name)


def _at_least_one(documents: Iterator[str], name: str, split: Split) -> Iterator[str]:
    empty = True
    for document in documents:
        empty = False
        yield document
    if empty:
        raise UserError(
            "data.corpus", f"'{name}' without any text in its {split} split", "every split needs some text"
        )
