"""Figures as the pages of a report show them: name, caption, and which section they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from paramalloc.report.blocks import markdown_table

Section = Literal["results", "kills", "sanity", "data", "cost"]


@dataclass(frozen=True)
class Picture:
    """One figure on disk, `figures/<name>.png` and `.svg`, and the section of the report that shows it."""

    name: str
    caption: str
    section: Section = "results"


def gallery(pictures: Sequence[Picture]) -> str:
    """Pictures side by side below their captions, as a table; nothing where there is none."""
    if not pictures:
        return ""
    cells = [f"![{picture.caption}](figures/{picture.name}.png)" for picture in pictures]
    heads = [picture.caption[0].upper() + picture.caption[1:] for picture in pictures]
    return markdown_table(heads, [cells], left=len(pictures))


def galleries(pictures: Sequence[Picture], columns: int = 2) -> str:
    """Any number of pictures, in rows of `columns`."""
    rows = (pictures[first : first + columns] for first in range(0, len(pictures), columns))
    return "\n\n".join(gallery(row) for row in rows)


def of_section(pictures: Sequence[Picture], section: Section) -> list[Picture]:
    return [picture for picture in pictures if picture.section == section]
