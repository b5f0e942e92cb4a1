"""Train, dev and test: the names, and cutting held-out documents from a corpus that comes without them.

Always holds: which split a document falls into depends on its text and on the corpus, never on its position or the
clock; equal documents fall into the same split; every split gets at least one document.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from paramalloc.errors import UserError

Split = Literal["train", "dev", "test"]


@dataclass(frozen=True)
class Cut:
    """A document whose hash is below `bounds[0]` falls into `splits[0]`, below `bounds[1]` into `splits[1]`."""

    splits: tuple[Split, ...]
    bounds: tuple[int, ...]

    def split_of(self, document: str) -> Split:
        place = bisect_right(self.bounds, document_hash(document))
        return self.splits[place] if place < len(self.splits) else "train"


def plan_cut(documents: Iterable[str], missing: Sequence[Split], fraction: float) -> Cut:
    """Choose the bounds so that each missing split holds about `fraction` of the bytes, and at least one document.

    Errors: UserError for fewer distinct documents than there are splits to fill.
    """
    hashes, sizes = array("Q"), array("Q")  # 16 bytes a document, so that millions of them fit
    for document in documents:
        hashes.append(document_hash(document))
        sizes.append(len(document.encode()))
    keys, which = np.unique(np.asarray(hashes), return_inverse=True)
    if len(keys) <= len(missing):
        raise UserError(
            "data.corpus",
            f"text with {len(keys)} different documents",
            f"{' and '.join(missing)} must be cut from it, which takes at least {len(missing) + 1}: give more text, "
            "set data.documents (blank_line makes each paragraph a document), or add dev.txt and test.txt",
        )
    cumulative = np.cumsum(np.bincount(which, weights=np.asarray(sizes)))
    bounds: list[int] = []
    taken = 0
    for i, _ in enumerate(missing):
        wanted = fraction * cumulative[-1] * (i + 1)
        most = len(keys) - len(missing) + i  # leave one document for each later split, and one for train
        taken = min(max(taken + 1, int(np.searchsorted(cumulative, wanted)) + 1), most)
        bounds.append(int(keys[taken]))
    return Cut(tuple(missing), tuple(bounds))


def document_hash(document: str) -> int:
    """64 bits of BLAKE2b of the text: the same on every machine."""
    return int.from_bytes(hashlib.blake2b(document.encode(), digest_size=8).digest(), "big")
