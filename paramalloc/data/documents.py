"""Turning lines of text into documents: WikiText articles, paragraphs, or whole files.

Always holds: everything is an iterator and at most one document is held in memory; lines inside a document are kept
as they are (blank lines around a document, and line ends, are not part of its text); no document is empty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Literal

from paramalloc.errors import UserError

Grouping = Literal["article", "file", "blank_line"]

_TITLE = re.compile(r" ?= [^=\s](?:.*[^=\s])? = ?")  # ` = Title = `, but not ` = = Section = = `
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")  # JSON can escape what no UTF-8 can hold
_SNIFF_LINES = 200
_MANY_FILES = 20
PASSAGE_CHARACTERS = 4_000


def read_documents(path: Path, grouping: Grouping) -> Iterator[str]:
    """The documents of one text file, or one for each line of a .jsonl file (its `text` field).

    Errors: UserError for bytes that are not UTF-8, and for lines that are no JSON object with a text.
    """
    if path.suffix == ".jsonl":
        return _jsonl_texts(path)
    return group_lines(read_lines(path), grouping)


def read_lines(path: Path) -> Iterator[str]:
    """Lines without their ends (\\n, \\r\\n or \\r) and without a byte order mark. Errors: UserError if not UTF-8."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for line in stream:
                yield line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise UserError("data.corpus", f"{path}, which is not UTF-8 text ({error})", "convert it to UTF-8") from error


def group_lines(lines: Iterable[str], grouping: Grouping) -> Iterator[str]:
    if grouping == "article":
        return _articles(lines)
    if grouping == "blank_line":
        return _paragraphs(lines)
    return _whole(lines)


def sniff_grouping(lines: Iterable[str], file_count: int) -> Grouping:
    """What `auto` means: articles if a title stands near the start, else files if there are many, else paragraphs."""
    if any(starts for starts, _ in _with_titles(islice(lines, _SNIFF_LINES))):
        return "article"
    return "file" if file_count >= _MANY_FILES else "blank_line"


def _articles(lines: Iterable[str]) -> Iterator[str]:
    """One document for each level-one heading; what stands before the first one is a document of its own."""
    block: list[str] = []
    for starts, line in _with_titles(lines):
        if starts:
            yield from _joined(block)
            block = []
        block.append(line)
    yield from _joined(block)


def _with_titles(lines: Iterable[str]) -> Iterator[tuple[bool, str]]:
    """Each line, and whether it is a title. In text that has blank lines a title follows one, as WikiText's do.

    If a blank line follows the first title, one follows them all. Without these rules rows of tables, formulas and
    book titles pass for titles: 29 of the 629 in WikiText-2 that look like one.
    """
    blank_before, any_blank = True, False
    blank_after_first: bool | None = None
    for line, following in pairwise(chain(lines, [""])):
        blank_after = not following.strip()
        starts = (blank_before or not any_blank) and _TITLE.fullmatch(line) is not None
        starts = starts and (blank_after or not blank_after_first)
        if starts and blank_after_first is None:
            blank_after_first = blank_after
        yield starts, line
        blank_before = not line.strip()
        any_blank = any_blank or blank_before


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    block: list[str] = []
    for line in lines:
        if line.strip():
            block.append(line)
        else:
            yield from _joined(block)
            block = []
    yield from _joined(block)


def _whole(lines: Iterable[str]) -> Iterator[str]:
    yield from _joined(list(lines))


def _joined(block: list[str]) -> Iterator[str]:
    """The block as one text without the blank lines around it; nothing if nothing else is in it."""
    filled = [i for i, line in enumerate(block) if line.strip()]
    if filled:
        yield "\n".join(block[filled[0] : filled[-1] + 1])


def _jsonl_texts(path: Path) -> Iterator[str]:
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        text = row.get("text") if isinstance(row, dict) else None
        if not isinstance(text, str):
            raise UserError("data.corpus", f"{path}:{number}", 'each line must be like {"text": "..."}')
        if _HALF_CHARACTER.search(text):
            raise UserError("data.corpus", f"{path}:{number} with half a surrogate pair", "mend the \\u escape")
        if text.strip():
            yield text


def passages(document: str, max_characters: int = PASSAGE_CHARACTERS) -> Iterator[str]:
    """A document in pieces of at most `max_characters`, cut before a line break, else before a space, else anywhere.

    Joined again they are the document.
    """
    start = 0
    while len(document) - start > max_characters:
        window = (start + 1, start + max_characters + 1)
        cut = document.rfind("\n", *window)
        if cut < 0:
            cut = document.rfind(" ", *window)
        if cut < 0:
            cut = start + max_characters
        yield document[start:cut]
        start = cut
    yield document[start:]
