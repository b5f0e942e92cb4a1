"""Figures that follow a page's light or dark theme: the house style's colours become the page's CSS variables.

Always holds: only colours of `style` are exchanged, shapes and words stay; every id is made the figure's own, so that
many figures share one page.
"""

from __future__ import annotations

import re

_VARIABLES = {
    "#000000": "ink",
    "#444444": "muted",
    "#888888": "muted",
    "#ffffff": "paper",
    "#dddddd": "grid",
    "#bbbbbb": "faint",
    "#eeeeee": "shade",
    "#0072b2": "blue",
    "#d55e00": "orange",
    "#009e73": "green",
    "#cc79a7": "pink",
    "#e69f00": "yellow",
    "#56b4e9": "sky",
}
_COLOUR = re.compile(r"(?<=[ :;\"])(#[0-9a-f]{6})\b")
_PROLOGUE = re.compile(r"\A.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
_ID = re.compile(r'(\bid="|href="#|url\(#)')


def themed(svg: str, name: str, description: str) -> str:
    """An `<svg>` element to stand within a page, as wide as there is room.

    Args:
        svg: the document that matplotlib wrote.
        name: a word that no other figure of the page has.
        description: read out in place of the picture; already escaped.
    """
    element = _METADATA.sub("", _PROLOGUE.sub("", svg))
    head, rest = element.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    element = f'{head} role="img" aria-label="{description}" fill="currentColor">{rest}'
    element = _ID.sub(rf"\g<1>{name}-", element)
    return _COLOUR.sub(lambda found: _themed_colour(found[1]), element)


def _themed_colour(colour: str) -> str:
    variable = _VARIABLES.get(colour)
    return f"var(--{variable})" if variable else colour
