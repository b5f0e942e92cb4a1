"""Train, dev and test: the names, and cutting held-out documents from a corpus that comes without them.

Always holds: which split a document falls into depends on its text and on the corpus, never on its position or the
clock; equal documents fall into the same split; every split gets at least one document. One pass over the text; only
what may be held out is kept in memory, never train.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Literal

import numpy as np

from paramalloc.errors import UserError

Split = Literal["train", "dev", "test"]


@dataclass(frozen=True)
class Cut:
    """What is held out of a corpus, by split: the documents, each under its index in the corpus."""

    held_out: Mapping[Split, Mapping[int, str]]
    train_bytes: int

    def train(self, documents: Iterable[str]) -> Iterator[str]:
        """What is left of the corpus for training."""
        taken = {index for texts in self.held_out.values() for index in texts}
        return (document for index, document in enumerate(documents) if index not in taken)


def plan_cut(documents: Iterable[str], missing: Sequence[Split], fraction: float, max_bytes: int) -> Cut:
    """Hold out the documents of lowest hash: about `fraction` of the bytes for each missing split, or `max_bytes`.

    Each split takes whole documents until it has that much, and at least one. Errors: UserError for fewer distinct
    documents than there are splits to fill.
    """
    lowest = _Lowest(wanted_bytes=max_bytes * len(missing), least=len(missing) + 1)
    total_bytes = 0
    for index, document in enumerate(documents):
        content = document.encode()
        total_bytes += len(content)
        lowest.offer(index, document, content)
    groups = lowest.groups()
    if len(groups) <= len(missing):
        raise UserError(
            "data.corpus",
            f"text with {len(groups)} different documents",
            f"{' and '.join(missing)} must be cut from it, which takes at least {len(missing) + 1}: give more text, "
            "set data.documents (blank_line makes each paragraph a document), or add dev.txt and test.txt",
        )
    cumulative = np.cumsum([group.bytes for group in groups])
    share = min(fraction * total_bytes, max_bytes)
    for_train = 0 if lowest.dropped_any else 1
    held_out: dict[Split, Mapping[int, str]] = {}
    taken = 0
    for i, split in enumerate(missing):
        most = len(groups) - for_train - (len(missing) - 1 - i)  # leave one document for each later split and train
        end = min(max(taken + 1, int(np.searchsorted(cumulative, share * (i + 1))) + 1), most)
        held_out[split] = dict(sorted((j, group.text) for group in groups[taken:end] for j in group.indexes))
        taken = end
    return Cut(held_out, total_bytes - int(cumulative[taken - 1]))


@dataclass
class _Group:
    """Equal documents: their text, and where in the corpus they stand."""

    text: str
    size: int
    indexes: list[int] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return self.size * len(self.indexes)


class _Lowest:
    """Of a stream of documents, those of lowest hash: at least `wanted_bytes` and `least` different ones of them.

    A document is dropped only when those below it are enough, so what is left in the end is complete.
    """

    def __init__(self, wanted_bytes: int, least: int) -> None:
        self._wanted, self._least = wanted_bytes, least
        self._groups: dict[int, _Group] = {}
        self._heap: list[int] = []  # the hashes, negated: the highest comes first
        self._bytes = 0
        self.dropped_any = False

    def offer(self, index: int, text: str, content: bytes) -> None:
        """`content` is the text in UTF-8."""
        key = _hash(content)
        if key not in self._groups:
            if self._enough(self._bytes, len(self._heap)) and key > -self._heap[0]:
                self.dropped_any = True
                return
            self._groups[key] = _Group(text, len(content))
            heappush(self._heap, -key)
        self._groups[key].indexes.append(index)
        self._bytes += len(content)
        while self._enough(self._bytes - self._groups[-self._heap[0]].bytes, len(self._heap) - 1):
            self._bytes -= self._groups.pop(-heappop(self._heap)).bytes
            self.dropped_any = True

    def groups(self) -> list[_Group]:
        """In order of their hashes."""
        return [group for _, group in sorted(self._groups.items())]

    def _enough(self, size: int, count: int) -> bool:
        return size >= self._wanted and count >= self._least


def _hash(content: bytes) -> int:
    """64 bits of BLAKE2b: the same on every machine."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
