"""From a configured corpus to the tokens of its vocabularies: checked, tokenized, and cached by content.

Always holds: a cached folder is whole and belongs to exactly this text, these settings and this vocabulary size; a
damaged one is built again. Documents are streamed, so memory does not grow with the train split.

    prepare(DataConfig(corpus="synthetic"), 4096, print)
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from tokenizers import Tokenizer

from paramalloc.config import DataConfig
from paramalloc.data import hub
from paramalloc.data.cache_folder import building
from paramalloc.data.corpus import Corpus, open_corpus
from paramalloc.data.documents import passages
from paramalloc.data.overlap import Overlap, find_overlap, refuse
from paramalloc.data.progress import Phases, counted, no_bars
from paramalloc.data.splits import Split
from paramalloc.data.token_set import (
    HELD_OUT,
    LENGTHS,
    PASSAGES,
    TOKENIZER,
    TRAIN,
    SplitSummary,
    TokenSet,
    damaged,
    load_token_set,
    write_held_out,
    write_lengths,
    write_meta,
    write_train,
)
from paramalloc.data.tokenizer import END_OF_TEXT_ID, encode, parts, tokenizer_hash, tokenizer_json, train_tokenizer
from paramalloc.errors import UserError
from paramalloc.files import atomic_write

FORMAT_VERSION = 3  # raise it when what is computed or stored changes: old folders are then no longer found
TOKENIZER_TEXT_BYTES = 100_000_000  # a tokenizer of a larger corpus is trained on this much of it
_GOLDEN_RATIO = 0.6180339887498949
Notify = Callable[[str], None]


def prepare(
    config: DataConfig, vocab_size: int, notify: Notify = lambda line: None, progress: Phases = no_bars
) -> TokenSet:
    """`prepare_all` for one vocabulary."""
    return prepare_all(config, [vocab_size], notify, progress)[vocab_size]


def prepare_all(
    config: DataConfig,
    vocab_sizes: Iterable[int],
    notify: Notify = lambda line: None,
    progress: Phases = no_bars,
    verify: bool = False,
    corpus: Corpus | None = None,
) -> dict[int, TokenSet]:
    """The tokens of `config`'s corpus under a tokenizer of each size, from the cache or built now.

    `notify` gets a line for each phase when it is done. With `verify` what is in the cache is read through, and
    built again where it is not what was written. `corpus`: the one that `config` names, where it is open already.

    Errors: UserError for a corpus that cannot be read or is too small, for held-out text in train (unless
    `data.on_overlap` is drop_train), and for a cache folder that cannot be written.
    """
    corpus = corpus or open_corpus(config)
    folders = {size: _folder(config, corpus, size) for size in vocab_sizes}
    ready = {size: _from_cache(folder, notify, verify) for size, folder in folders.items()}
    builder = _Builder(config, corpus, notify, progress)
    return {size: ready[size] or builder.build(folder, size) for size, folder in folders.items()}


def cached(config: DataConfig, vocab_size: int) -> TokenSet | None:
    """What `prepare` would return if that took no work, else None. No network. Errors: UserError as `open_corpus`."""
    return load_token_set(_folder(config, open_corpus(config), vocab_size))


def _folder(config: DataConfig, corpus: Corpus, vocab_size: int) -> Path:
    key = json.dumps([FORMAT_VERSION, corpus.fingerprint(), config.on_overlap, vocab_size])
    return Path(config.cache_dir).expanduser() / hashlib.sha256(key.encode()).hexdigest()[:32]


def _from_cache(folder: Path, notify: Notify, verify: bool) -> TokenSet | None:
    found = load_token_set(folder)
    if found is None:
        return None
    bad = damaged(folder) if verify else []
    if bad:
        notify(f"{folder} is built again: {', '.join(bad)} changed since it was written")
        return None
    checked = ", every file of it as it was written" if verify else ""
    notify(f"tokens with a vocabulary of {found.vocab_size:,} taken from {folder}{checked}")
    return found


class _Builder:
    """Builds the cache folders of one corpus; what is the same for all its vocabularies is done once."""

    def __init__(self, config: DataConfig, corpus: Corpus, notify: Notify, progress: Phases) -> None:
        self._config, self._corpus, self._notify, self._progress = config, corpus, notify, progress
        self._found: Overlap | None = None

    def build(self, folder: Path, vocab_size: int) -> TokenSet:
        with building(folder) as unfinished:
            self._write(unfinished, vocab_size)
        built = load_token_set(folder)
        assert built is not None, f"what was just built cannot be read: {folder}"
        return built

    def _write(self, folder: Path, vocab_size: int) -> None:
        """Every file of a cache folder, meta.json last."""
        overlap, corpus = self._overlap, self._corpus
        tokenizer, tokenizer_bytes = self._train_tokenizer(vocab_size)
        atomic_write(folder / TOKENIZER, tokenizer_json(tokenizer))
        summaries: dict[Split, SplitSummary] = {"train": self._write_train(folder / TRAIN, tokenizer)}
        for split, name in HELD_OUT.items():
            begun = time.perf_counter()
            summaries[split] = write_held_out(folder / name, encode(tokenizer, corpus.documents(split)))
            self._say_tokenized(split, summaries[split], begun)
        pieces = chain.from_iterable(passages(document) for document in corpus.documents("dev"))
        write_held_out(folder / PASSAGES, encode(tokenizer, pieces))
        write_lengths(folder / LENGTHS, summaries)
        hub_files = hub.wikitext_files(corpus.name) if corpus.name in hub.WIKITEXT_CONFIGS else ()
        meta = {
            "fingerprint": corpus.fingerprint(),
            "hub_files": [asdict(file) for file in hub_files],
            "vocab_size": vocab_size,
            "tokenizer_hash": tokenizer_hash(tokenizer),
            "tokenizer_text_bytes": tokenizer_bytes,
            "end_of_text": END_OF_TEXT_ID,
            "overlap": {
                "train_documents": overlap.train_documents,
                "dropped_documents": len(overlap.documents),
                "shared_texts": overlap.shared_texts,
                "boilerplate_lines": overlap.boilerplate_lines,
            },
            "splits": {split: summary.as_json() for split, summary in summaries.items()},
        }
        write_meta(folder, meta)

    @property
    def _overlap(self) -> Overlap:
        """What train shares with dev and test, looked for once. Errors: UserError."""
        if self._found is None:
            self._found = self._find_overlap()
        return self._found

    def _find_overlap(self) -> Overlap:
        begun = time.perf_counter()
        held_out = chain.from_iterable(self._corpus.documents(split) for split in HELD_OUT)
        with self._progress("looking for dev and test text in train", None) as advance:
            found = find_overlap(counted(self._corpus.documents("train"), advance), held_out)
        if self._config.on_overlap == "error":
            refuse(found)
        if len(found.documents) == found.train_documents:
            raise UserError(
                "data.corpus", "a corpus whose training documents all share text with dev or test", "mend it"
            )
        what = f"{len(found.documents):,} left out" if found.documents else "none"
        note = f", {found.boilerplate_lines:,} boilerplate lines" if found.boilerplate_lines else ""
        self._notify(
            f"looking for dev and test text in {found.train_documents:,} training documents: "
            f"{what}{note} in {_since(begun)}"
        )
        return found

    def _train_documents(self) -> Iterator[str]:
        shared = self._overlap.documents
        return (text for i, text in enumerate(self._corpus.documents("train")) if i not in shared)

    def _train_tokenizer(self, vocab_size: int) -> tuple[Tokenizer, int]:
        """The tokenizer, and the bytes of the text that it was trained on. Errors: UserError."""
        begun = time.perf_counter()
        total = self._overlap.train_bytes
        share = min(1.0, TOKENIZER_TEXT_BYTES / total)
        done = 0

        def count(size: int) -> None:
            nonlocal done
            done += size
            advance(size)

        with self._progress("training the tokenizer", round(share * total)) as advance:
            texts = _spread(chain.from_iterable(map(parts, self._train_documents())), share)
            tokenizer = train_tokenizer(counted(texts, count), vocab_size)
        self._notify(f"training the tokenizer: {vocab_size:,} entries from {done / 1e6:.1f} MB in {_since(begun)}")
        return tokenizer, done

    def _write_train(self, path: Path, tokenizer: Tokenizer) -> SplitSummary:
        begun = time.perf_counter()
        with self._progress("tokenizing train", self._overlap.train_bytes) as advance:
            encoded = encode(tokenizer, self._train_documents())
            summary = write_train(path, tokenizer.get_vocab_size(), encoded, advance)
        self._say_tokenized("train", summary, begun)
        return summary

    def _say_tokenized(self, split: Split, summary: SplitSummary, begun: float) -> None:
        size, tokens = summary.bytes / 1e6, summary.tokens / 1e6
        self._notify(f"tokenizing {split}: {size:.1f} MB -> {tokens:.2f}M tokens in {_since(begun)}")


def _spread(texts: Iterable[str], share: float) -> Iterator[str]:
    """A share of the texts, the first and then evenly spread: steps of the golden ratio fall in with no period."""
    return (text for i, text in enumerate(texts) if i * _GOLDEN_RATIO % 1 < share)


def _since(begun: float) -> str:
    return f"{time.perf_counter() - begun:.1f} s"
