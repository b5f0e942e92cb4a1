"""Is a probe's wording in the training text? Whole texts and runs of 13 words are compared, as for GPT-3.

The test is that of Brown et al. 2020 (arXiv:2005.14165), appendix C: words in lower case without punctuation; any
13 in a row that the training text has as well make a probe suspect, unless more than 10 training documents have them
(proverbs, legal phrases). Texts of 13 words or fewer, which hold no other run of 13, are only looked for whole.

Always holds: documents are streamed once and only hashes of the probes' runs are kept; the answer is the same in
every process. Hashes have 64 bits: the chance of a false alarm in a gigabyte of text is below one in ten thousand.

    contamination = find_contamination(probe_texts(tasks), corpus.documents("train"))
    tasks = drop_contaminated(tasks, contamination)
"""

from __future__ import annotations

import string
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from paramalloc.data.documents import passages
from paramalloc.data.probes import ProbeTask

NGRAM_WORDS = 13
# What is shorter stands in any large text by chance: of SST-2's phrases of four words 1.6 % are found in 34 MB of
# novels a century older than they, of those of five and six words 0.15 %, of longer ones none.
MIN_WORDS = 5
BOILERPLATE_DOCUMENTS = 10
_BATCH_CHARACTERS = 1 << 19
_BASE = 0x9E3779B97F4A7C15  # odd, so that its powers can be undone modulo 2^64
_BITMAP_BITS = 22
_DOCUMENT_END = b" \0 "
_LETTERS_AND_DIGITS = (string.ascii_letters + string.digits).encode()
_ASCII_TO_WORDS = bytes(code if code >= 128 or code in _LETTERS_AND_DIGITS else 32 for code in range(256))
_TYPOGRAPHIC = "\u00a0\u2018\u2019\u201c\u201d\u2013\u2014\u2026"  # no-break space, quotes, dashes, ellipsis


@dataclass(frozen=True)
class Contamination:
    """Ids of the probes whose text the training text has: `exact` all of it, `ngram` 13 words in a row of it.

    `boilerplate_ngrams` of the probes' runs of 13 words are in too many training documents to count.
    """

    exact: frozenset[str]
    ngram: frozenset[str]
    boilerplate_ngrams: int

    @property
    def dropped(self) -> frozenset[str]:
        return self.exact | self.ngram


def probe_texts(tasks: Iterable[ProbeTask]) -> dict[str, str]:
    """What `find_contamination` looks for, by probe id."""
    return {probe.id: probe.text for task in tasks for probe in task.probes}


def drop_contaminated(tasks: Iterable[ProbeTask], contamination: Contamination) -> tuple[ProbeTask, ...]:
    """The tasks without the probes that were found, and their partners; the others in their old order."""
    kept = []
    for task in tasks:
        found = _found_units(task, contamination)
        kept.append(ProbeTask(task.name, tuple(probe for probe in task.probes if probe.unit not in found)))
    return tuple(kept)


def _found_units(task: ProbeTask, contamination: Contamination) -> set[str]:
    return {probe.unit for probe in task.probes if probe.id in contamination.dropped}


def count_by_task(tasks: Iterable[ProbeTask], contamination: Contamination) -> dict[str, dict[str, int]]:
    """By task name: how many probes were `checked`, found `exact`, by `ngram`, `dropped` (either, or partner)."""
    counts = {}
    for task in tasks:
        ids = {probe.id for probe in task.probes}
        found = _found_units(task, contamination)
        counts[task.name] = {
            "checked": len(ids),
            "exact": len(ids & contamination.exact),
            "ngram": len(ids & contamination.ngram),
            "dropped": sum(probe.unit in found for probe in task.probes),
        }
    return counts


def find_contamination(texts: Mapping[str, str], documents: Iterable[str]) -> Contamination:
    """Look for `texts` (by probe id) in the training documents.

    Each line of a text is a text of its own (a passage and its question): one that is found suffices. An exact
    match is a line of at least five words that stands in a training document word for word, whatever surrounds it;
    for a short one that means no more than that the model may have read these words, without their label.
    """
    wanted = _Wanted(texts)
    for words, numbers in _hashed(documents, wanted.longest):
        wanted.look_through(words, numbers)
    return wanted.result()


@dataclass(frozen=True)
class _Line:
    probe: str
    words: np.ndarray  # (n,) uint64, the hash of each word


class _Wanted:
    """The runs of words that are looked for, by length, and what has been found of them."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        lines = [
            _Line(probe, words)
            for probe, text in texts.items()
            for words in map(_word_hashes, map(_normalised, text.split("\n")))
            if len(words) >= MIN_WORDS
        ]
        self.longest = max((len(line.words) for line in lines), default=NGRAM_WORDS)
        self._whole: defaultdict[int, list[_Line]] = defaultdict(list)  # by the hash of their first run
        self._probes_with: defaultdict[int, set[str]] = defaultdict(set)  # by the hash of a run of 13
        runs: defaultdict[int, list[np.ndarray]] = defaultdict(list)
        for line in lines:
            length = min(len(line.words), NGRAM_WORDS)
            hashes = _run_hashes(_prefix_sums(line.words), length)
            runs[length].append(hashes)
            self._whole[int(hashes[0])].append(line)
            if length == NGRAM_WORDS:
                for key in hashes.tolist():
                    self._probes_with[key].add(line.probe)
        self._sets = {length: _HashSet(np.concatenate(hashes)) for length, hashes in sorted(runs.items())}
        self._exact: set[str] = set()
        self._documents_with: defaultdict[int, set[int]] = defaultdict(set)  # by the hash of a run of 13

    def look_through(self, words: np.ndarray, numbers: np.ndarray) -> None:
        """Some of the training text: (n,) hashes of its words, and the number of each one's document."""
        sums = _prefix_sums(words)
        for length, hash_set in self._sets.items():
            hashes = _run_hashes(sums, length)
            for place in hash_set.places_in(hashes).tolist():
                key = int(hashes[place])
                self._exact.update(line.probe for line in self._whole.get(key, ()) if _stands_at(place, line, words))
                if length == NGRAM_WORDS and len(self._documents_with[key]) <= BOILERPLATE_DOCUMENTS:
                    self._documents_with[key].add(int(numbers[place]))

    def result(self) -> Contamination:
        rare = [key for key, found in self._documents_with.items() if len(found) <= BOILERPLATE_DOCUMENTS]
        return Contamination(
            exact=frozenset(self._exact),
            ngram=frozenset().union(*(self._probes_with[key] for key in rare)),
            boilerplate_ngrams=len(self._documents_with) - len(rare),
        )


def _stands_at(place: int, line: _Line, words: np.ndarray) -> bool:
    return np.array_equal(words[place : place + len(line.words)], line.words)


class _HashSet:
    """Which of many 64-bit hashes are in a set: a bitmap on their first bits rules most out, a search the rest."""

    def __init__(self, hashes: np.ndarray) -> None:
        self._sorted = np.unique(hashes)
        self._bitmap = np.zeros(1 << _BITMAP_BITS, dtype=bool)
        self._bitmap[self._first_bits(hashes)] = True

    def places_in(self, hashes: np.ndarray) -> np.ndarray:
        """Indexes of those of `hashes` (n,) that are in the set."""
        places = np.flatnonzero(self._bitmap[self._first_bits(hashes)])
        nearest = np.searchsorted(self._sorted, hashes[places]).clip(max=len(self._sorted) - 1)
        return places[self._sorted[nearest] == hashes[places]]

    @staticmethod
    def _first_bits(hashes: np.ndarray) -> np.ndarray:
        return hashes >> np.uint64(64 - _BITMAP_BITS)


def _hashed(documents: Iterable[str], longest: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Hashes of the documents' words in batches, (n,) each, with the number of each word's document.

    A batch begins with the last words of the one before, so that no run of up to `longest` words is cut everywhere.
    Documents are kept apart by a word that no text has.
    """
    end = _word_hashes(_DOCUMENT_END)
    words, numbers, ended = np.empty(0, np.uint64), np.empty(0, np.int64), 0
    for batch in _batches(documents):
        new = _word_hashes(batch)
        again = max(0, len(words) - longest + 1)
        words = np.concatenate([words[again:], new])
        numbers = np.concatenate([numbers[again:], ended + np.cumsum(new == end)])
        ended += int(np.count_nonzero(new == end))
        yield words, numbers


def _batches(documents: Iterable[str]) -> Iterator[bytes]:
    """Normalised text in pieces of about a megabyte, however short or long the documents are."""
    pieces: list[bytes] = []
    characters = 0
    for document in documents:
        for passage in passages(document, _BATCH_CHARACTERS):
            pieces.append(_normalised(passage))
            characters += len(passage)
            if characters >= _BATCH_CHARACTERS:
                yield b"".join(pieces)
                pieces, characters = [], 0
        pieces.append(_DOCUMENT_END)
    if pieces:
        yield b"".join(pieces)


def _normalised(text: str) -> bytes:
    """Lower-case UTF-8 in which everything but letters and digits is a space ("Don't!" -> b"don t ")."""
    text = text.lower()
    if not text.isascii():
        for mark in _TYPOGRAPHIC:
            text = text.replace(mark, " ")
    return text.encode().translate(_ASCII_TO_WORDS)


def _word_hashes(normalised: bytes) -> np.ndarray:
    """A 64-bit hash of each word, (n,) uint64."""
    codes = np.frombuffer(normalised, dtype=np.uint8)
    inside = np.concatenate([[False], codes != 32, [False]])
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    hashes = _span_hashes(_prefix_sums(codes.astype(np.uint64) + np.uint64(1)), edges[::2], edges[1::2])
    # Words are short sums of small numbers: spread them over all bits (SplitMix64, Steele et al. 2014).
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def _run_hashes(sums: np.ndarray, length: int) -> np.ndarray:
    """A 64-bit hash of every run of `length` words, (n - length + 1,) uint64, from their prefix sums (n + 1,)."""
    starts = np.arange(max(0, len(sums) - length))
    return _span_hashes(sums, starts, starts + length)


def _prefix_sums(values: np.ndarray) -> np.ndarray:
    """sum(values[k] * base^k for k < i) modulo 2^64, (n + 1,) uint64 for values (n,)."""
    up, _ = _powers(len(values))
    return np.concatenate([np.zeros(1, np.uint64), np.cumsum(values * up)])


def _span_hashes(sums: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """sum(values[start + k] * base^k) modulo 2^64 of each span: the difference of its prefix sums, shifted back."""
    _, down = _powers(len(sums))
    return (sums[ends] - sums[starts]) * down[starts]


def _powers(count: int) -> tuple[np.ndarray, np.ndarray]:
    """base^k and base^-k modulo 2^64 for k below `count`."""
    up, down = _powers_to(1 << max(10, count.bit_length()))
    return up[:count], down[:count]


@cache
def _powers_to(count: int) -> tuple[np.ndarray, np.ndarray]:
    up, down = (np.full(count, factor, dtype=np.uint64) for factor in (_BASE, pow(_BASE, -1, 2**64)))
    up[0] = down[0] = 1
    return np.cumprod(up), np.cumprod(down)
