"""Is dev or test text in train? Whole documents and single lines are compared, exactly, from 60 characters on.

Always holds: train is streamed, and only hashes of held-out text are kept, with the places where train repeats it;
shorter texts (headings, "Yes.") prove nothing and are not compared. A line that stands in many training documents (at
least 3, and 1 % of them) is boilerplate, such as a licence notice under every file: it says nothing about any one
held-out document and is only counted. A whole document that is in train as well always counts.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from paramalloc.errors import UserError

MIN_CHARACTERS = 60
BOILERPLATE_DOCUMENTS, BOILERPLATE_SHARE = 3, 0.01
_EXAMPLE_CHARACTERS = 80


@dataclass(frozen=True)
class Overlap:
    """What a look through train found. `documents`: indexes of the training documents that share held-out text."""

    documents: frozenset[int]
    shared_texts: int
    boilerplate_lines: int
    example: str
    train_documents: int
    train_bytes: int  # with those that share text


def find_overlap(train: Iterable[str], held_out: Iterable[str]) -> Overlap:
    """Stream both once and compare them."""
    wholes: set[int] = set()
    lines: set[int] = set()
    for document in held_out:
        texts = list(_comparable(document))
        lines.update(hash(text) for text in texts)
        wholes.update(hash(text) for text in texts[:1] if text == document.strip())
    found: dict[int, tuple[str, array[int]]] = {}  # hash -> beginning of the text, training documents that have it
    count = size = 0
    for document in train:
        size += len(document.encode())
        for text in _comparable(document):
            if (key := hash(text)) in lines:
                _, where = found.setdefault(key, (text[:_EXAMPLE_CHARACTERS], array("Q")))
                if not where or where[-1] != count:
                    where.append(count)
        count += 1
    many = max(BOILERPLATE_DOCUMENTS, BOILERPLATE_SHARE * count)
    shared = {key: item for key, item in found.items() if key in wholes or len(item[1]) < many}
    return Overlap(
        documents=frozenset(index for _, indexes in shared.values() for index in indexes),
        shared_texts=len(shared),
        boilerplate_lines=len(found) - len(shared),
        example=next((text for text, _ in shared.values()), ""),
        train_documents=count,
        train_bytes=size,
    )


def refuse(overlap: Overlap) -> None:
    """Errors: UserError if anything is shared."""
    if overlap.documents:
        raise UserError(
            "data.on_overlap",
            f"{len(overlap.documents):,} of {overlap.train_documents:,} training documents with "
            f"{overlap.shared_texts:,} lines or whole texts that are in dev or test as well, such as "
            f"'{overlap.example}'",
            "remove them from the corpus, or set data.on_overlap=drop_train to leave these training documents out",
        )


def _comparable(document: str) -> Iterator[str]:
    """The whole document first, then its lines; only what is long enough to mean something."""
    whole = document.strip()
    if len(whole) >= MIN_CHARACTERS:
        yield whole
    if "\n" in whole:
        for line in whole.split("\n"):
            line = line.strip()
            if len(line) >= MIN_CHARACTERS:
                yield line
