"""Improvements in perplexity as words, for a terminal and for a report."""

from __future__ import annotations


def direction(low: float, high: float) -> str:
    """Improvements, as fractions, in words: `3.2% lower`, `1.0% to 5.4% lower` or `1.0% higher to 2.0% lower`."""
    words = ["lower" if improvement >= 0 else "higher" for improvement in (low, high)]
    values = [f"{abs(improvement):.1%}" for improvement in (low, high)]
    if words[0] != words[1]:
        return f"{values[0]} {words[0]} to {values[1]} {words[1]}"
    ends = values if words[0] == "lower" else values[::-1]
    return f"{' to '.join(dict.fromkeys(ends))} {words[0]}"
