"""Held-out text in train is found, exactly and only from a length on; boilerplate is told apart."""

from __future__ import annotations

import pytest

from paramalloc.data.overlap import find_overlap, refuse
from paramalloc.errors import UserError

LONG = "This sentence is quite certainly longer than the sixty characters that count ."
OTHER = "Here is another sentence that is long enough to be compared with all the others ."
SHORT = "Too short to prove anything ."


def test_a_shared_line_is_found_wherever_it_stands() -> None:
    train = ["something", f"before\n  {LONG} \nafter", "nothing", LONG]
    found = find_overlap(train, [f"dev text\n{LONG}\nmore"])
    assert found.documents == {1, 3}
    assert (found.shared_texts, found.train_documents) == (1, 4)
    assert found.train_bytes == sum(len(text.encode()) for text in train)
    with pytest.raises(UserError, match=r"2 of 4 .*This sentence is quite.*drop_train"):
        refuse(found)


def test_a_shared_document_of_short_lines_is_found() -> None:
    poem = "\n".join(["a short line of a poem"] * 4)
    assert find_overlap(["x", poem, poem + "\nand more"], [poem]).documents == {1}


def test_short_texts_prove_nothing() -> None:
    found = find_overlap([SHORT, f"{SHORT}\n{OTHER}"], [SHORT, f"{SHORT}\n{LONG}"])
    assert not found.documents
    refuse(found)


def test_boilerplate_is_counted_and_forgiven() -> None:
    train = [f"text {i}\n{LONG}" for i in range(3)] + [f"text {i}" for i in range(97)]
    held_out = [f"held out\n{LONG}\n{OTHER}"]
    found = find_overlap(train, held_out)
    assert (found.documents, found.boilerplate_lines) == (frozenset(), 1)
    found = find_overlap([*train, f"a leak\n{OTHER}"], held_out)
    assert (found.documents, found.boilerplate_lines) == ({100}, 1)
    found = find_overlap(train[1:], held_out)  # twice is no boilerplate
    assert (found.documents, found.boilerplate_lines) == ({0, 1}, 0)


def test_a_line_twice_in_one_document_counts_once() -> None:
    found = find_overlap([f"{LONG}\nthen\n{LONG}\nand\n{LONG}", "x"], [f"dev\n{LONG}"])
    assert (found.documents, found.boilerplate_lines) == ({0}, 0)


def test_boilerplate_takes_one_percent_of_a_large_corpus() -> None:
    rare = [f"text {i}\n{LONG}" for i in range(3)] + [f"text {i}" for i in range(400)]
    assert len(find_overlap(rare, [f"held out\n{LONG}"]).documents) == 3


def test_a_whole_document_is_never_boilerplate() -> None:
    assert len(find_overlap([LONG] * 10, [LONG]).documents) == 10
