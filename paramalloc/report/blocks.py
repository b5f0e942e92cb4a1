"""Markdown building blocks: lists and tables."""

from __future__ import annotations

from collections.abc import Iterable


def bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def markdown_table(heads: list[str], rows: list[list[str]], left: int) -> str:
    """A Markdown table whose first `left` columns are aligned left, the others right."""
    rule = [":--" if index < left else "--:" for index in range(len(heads))]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in [heads, rule, *rows]
    )
