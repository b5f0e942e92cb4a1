"""Cutting dev and test from a corpus: what is taken, how much of it, and how little is kept in memory."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paramalloc.data.splits import Cut, plan_cut
from paramalloc.errors import UserError

NO_CAP = 1 << 40
DOCUMENTS = st.lists(st.integers(0, 40), min_size=3, max_size=60).map(
    lambda numbers: [f"{number} " + "é" * (number % 7) for number in numbers]
)


def by_hash(documents: list[str]) -> list[str]:
    """The different documents, in the order in which they are held out."""
    return sorted(set(documents), key=lambda text: hashlib.blake2b(text.encode(), digest_size=8).digest())


def groups(cut: Cut, documents: list[str]) -> list[list[str]]:
    return [*(list(texts.values()) for texts in cut.held_out.values()), list(cut.train(documents))]


@settings(deadline=None)
@given(documents=DOCUMENTS, fraction=st.floats(0.01, 0.49), cap=st.one_of(st.just(NO_CAP), st.integers(1, 400)))
def test_the_lowest_hashes_are_held_out_and_nothing_is_lost(documents: list[str], fraction: float, cap: int) -> None:
    ordered = by_hash(documents)
    if len(ordered) < 3:
        with pytest.raises(UserError, match=f"{len(ordered)} different documents"):
            plan_cut(iter(documents), ("dev", "test"), fraction, cap)
        return
    cut = plan_cut(iter(documents), ("dev", "test"), fraction, cap)
    dev, test, train = groups(cut, documents)
    assert dev
    assert test
    assert train
    assert sorted(dev + test + train) == sorted(documents)
    for split in cut.held_out.values():
        assert list(split.values()) == [documents[index] for index in sorted(split)]
    assert [ordered.index(text) for text in by_hash(dev) + by_hash(test)] == list(range(len(set(dev + test))))
    assert cut.train_bytes == sum(len(text.encode()) for text in train)


@settings(deadline=None)
@given(documents=DOCUMENTS, fraction=st.floats(0.01, 0.49), cap=st.integers(1, 200))
def test_a_split_takes_documents_until_it_has_its_share(documents: list[str], fraction: float, cap: int) -> None:
    ordered = by_hash(documents)
    if len(ordered) < 3:
        return
    held_out = list(plan_cut(iter(documents), ("dev",), fraction, cap).held_out["dev"].values())
    sizes = {text: len(text.encode()) * documents.count(text) for text in ordered}
    share = min(fraction * sum(sizes.values()), cap)
    taken = len(set(held_out))
    assert sum(sizes[text] for text in ordered[: taken - 1]) < share
    assert sum(sizes[text] for text in ordered[:taken]) >= share or taken == len(ordered) - 1


def test_no_more_is_held_out_than_the_cap() -> None:
    documents = [f"document {i:05}" for i in range(100)]  # of 14 bytes each
    for cap, count in ((140, 10), (141, 11), (1, 1), (NO_CAP, 20)):
        held_out = plan_cut(iter(documents), ("dev", "test"), 0.2, cap).held_out
        assert len(held_out["dev"]) == count
        assert sum(map(len, held_out.values())) == pytest.approx(2 * count, abs=1)


def test_memory_does_not_grow_with_the_corpus() -> None:
    def corpus(count: int) -> Iterator[str]:
        return (f"document number {i} ".ljust(2_000, ".") for i in range(count))

    def peak_bytes(count: int) -> int:
        tracemalloc.start()
        try:
            plan_cut(corpus(count), ("dev", "test"), 0.05, max_bytes=50_000)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak_bytes(4_000) < 1.5 * peak_bytes(400) < 1_000_000
