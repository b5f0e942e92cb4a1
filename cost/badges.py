"""Small SVG badges for a README: what a sweep cost, and how far it is.

Always holds: pure text in, pure text out; the words are real text, so screen readers and searches find them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape, quoteattr

HEIGHT, PAD = 20, 6
_GREY, _BLUE, _ORANGE, _RED, _GREEN = "#4d4d4d", "#0067a3", "#a86200", "#b34700", "#00735a"
_WIDE, _NARROW = "mwMW%@", "iljtfr.,:;'|! "


def cost_badge(summary: Mapping[str, Any]) -> str:
    """The total of a cost summary, and its part of the budget."""
    total, budget = summary["total_usd"], summary["budget_usd"]
    if total is None:
        return badge("cost", "unknown", _GREY)
    text = f"${total:,.2f}" if not summary["unpriced_node_seconds"] else f"at least ${total:,.2f}"
    if not budget:
        return badge("cost", text, _BLUE)
    colour = _RED if total >= budget else _ORANGE if total >= 0.8 * budget else _BLUE
    return badge("cost", f"{text} of ${budget:,.2f}", colour)


def progress_badge(done_tokens: int, total_tokens: int) -> str:
    """How much of the planned training is done; rounded down, so that 100% means all of it."""
    percent = 100 if total_tokens <= 0 else min(100, 100 * done_tokens // total_tokens)
    return badge("progress", f"{percent}%", _GREEN if percent == 100 else _BLUE)


def badge(label: str, text: str, colour: str) -> str:
    """An SVG of two fields, `label` on grey and `text` on `colour`; white text has a contrast above 4.5 to 1."""
    left, right = _width(label), _width(text)
    title = f"{label}: {text}"
    words = "".join(
        f'<text x="{start + width / 2:g}" y="14" textLength="{width - 2 * PAD:g}">{escape(word)}</text>'
        for start, width, word in ((0, left, label), (left, right, text))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right:g}" height="{HEIGHT}" role="img" '
        f"aria-label={quoteattr(title)}><title>{escape(title)}</title>"
        f'<clipPath id="r"><rect width="{left + right:g}" height="{HEIGHT}" rx="3"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left:g}" height="{HEIGHT}" fill="{_GREY}"/>'
        f'<rect x="{left:g}" width="{right:g}" height="{HEIGHT}" fill="{colour}"/></g>'
        f'<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">{words}</g>'
        "</svg>\n"
    )


def _width(word: str) -> float:
    """Pixels of a field with this word at 11 px, near enough for `textLength` to do the rest."""
    return 2 * PAD + sum(10.0 if char in _WIDE else 4.2 if char in _NARROW else 6.9 for char in word)
