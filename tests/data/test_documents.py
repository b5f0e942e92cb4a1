"""Lines into documents: articles, paragraphs, files, and what `auto` makes of a text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from paramalloc.data.documents import group_lines, passages, read_documents, read_lines, sniff_grouping
from paramalloc.errors import UserError

WIKI = """

 = First Title =

 Some text .
 = Played , W =
 = = A section = =

 More text = here .


 = Second = title =

 End .

""".split("\n")


def test_articles_begin_at_titles_and_keep_their_lines() -> None:
    first, second = group_lines(WIKI, "article")
    assert first.split("\n") == WIKI[2:9]
    assert second == " = Second = title =\n\n End ."


def test_a_table_row_is_no_title_unless_the_text_has_no_blank_lines() -> None:
    packed = [line for line in WIKI if line]
    assert [document.split("\n")[0] for document in group_lines(packed, "article")] == [
        " = First Title =",
        " = Played , W =",
        " = Second = title =",
    ]


def test_a_blank_line_follows_every_title_if_it_follows_the_first() -> None:
    blank_after = [" = One = ", "", "text", "", " = a book = ", "its publisher", "", " = Two = ", "", "text"]
    assert [document[:7] for document in group_lines(blank_after, "article")] == [" = One ", " = Two "]
    assert len(list(group_lines(["a tail", "of text", "", *blank_after], "article"))) == 3
    none_after = [" = One = ", "text", "", " = Two = ", "text", "", " = Three = ", "", "text"]
    assert [document[:7] for document in group_lines(none_after, "article")] == [" = One ", " = Two ", " = Three"[:7]]


def test_text_before_the_first_title_is_a_document_of_its_own() -> None:
    assert list(group_lines(["tail of something", "", " = Title = ", "", "body"], "article")) == [
        "tail of something",
        " = Title = \n\nbody",
    ]


def test_paragraphs_and_files() -> None:
    lines = ["", "a", " b ", "   ", "", "c", ""]
    assert list(group_lines(lines, "blank_line")) == ["a\n b ", "c"]
    assert list(group_lines(lines, "file")) == ["a\n b \n   \n\nc"]
    for grouping in ("article", "blank_line", "file"):
        assert list(group_lines(["", "  "], grouping)) == []


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        (WIKI, 1, "article"),
        (WIKI, 100, "article"),
        (["x"] * 300 + WIKI, 1, "blank_line"),
        (["= = Section = =", "a"], 19, "blank_line"),
        (["a", "b"], 20, "file"),
    ],
)
def test_what_auto_means(lines: list[str], files: int, expected: str) -> None:
    assert sniff_grouping(lines, files) == expected


def test_grouping_reads_no_further_than_it_must() -> None:
    def endless() -> Iterator[str]:
        number = 0
        while True:
            yield from (f" = Title {number} = ", "", "body", "")
            number += 1

    documents = group_lines(endless(), "article")
    assert [next(documents).split("\n")[0] for _ in range(3)] == [f" = Title {i} = " for i in range(3)]
    assert sniff_grouping(endless(), 1) == "article"


def test_lines_lose_their_ends_and_the_byte_order_mark_only(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("\ufeff one \r\n\r\ntwo\x0bthree\u2028four\n".encode())
    assert list(read_lines(path)) == [" one ", "", "two\x0bthree\u2028four"]


def test_jsonl_is_a_document_a_line_whatever_the_grouping(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "one\\n\\ntwo"}\n\n{"text": " "}\n{"text": "three", "id": 7}\n')
    assert list(read_documents(path, "blank_line")) == ["one\n\ntwo", "three"]


@pytest.mark.parametrize("line", ["no json", '["text"]', '{"body": "x"}', '{"text": 3}', r'{"text": "\ud83d"}'])
def test_a_bad_jsonl_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(f'{{"text": "fine"}}\n{line}\n')
    with pytest.raises(UserError, match=r"texts\.jsonl:2"):
        list(read_documents(path, "file"))


@pytest.mark.parametrize("cut_at", ["\n", " ", ""])
def test_passages_are_short_cut_where_text_allows_it_and_join_to_the_document(cut_at: str) -> None:
    words = ["héron", "brun", "pêche", "ici"]
    document = cut_at.join(words * 50)
    pieces = list(passages(document, max_characters=40))
    assert "".join(pieces) == document
    assert all(0 < len(piece) <= 40 for piece in pieces)
    if cut_at:
        assert all(piece.startswith(cut_at) for piece in pieces[1:])
        assert all(len(piece) > 30 for piece in pieces[:-1])


def test_a_short_document_is_one_passage() -> None:
    assert list(passages("a\nb c")) == ["a\nb c"]
