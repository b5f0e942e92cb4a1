"""Numbers as a reader wants them: sensible digits, units, and a dash where nothing was measured.

Always holds: null is shown as an en dash, never as 0; a mean beside its spread has the spread's digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from paramalloc.evaluation.units import is_capped

DASH = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"


def significant(value: float | None, digits: int = 4) -> str:
    """Rounded to so many significant digits, thousands separated, never in powers of ten: `61.42`, `45,200`."""
    if value is None:
        return DASH
    decimals = digits - 1 - _exponent(value, digits)
    return f"{round(value, decimals):,.{max(0, decimals)}f}"


def with_spread(mean: float | None, sd: float | None, digits: int = 4) -> str:
    """`61.42 ± 0.35`: the spread with two significant digits, the mean to the same place. No spread, no ±."""
    if mean is None or not sd:
        return significant(mean, digits)
    decimals = max(0, 1 - _exponent(sd, 2))
    return f"{mean:,.{decimals}f} ± {sd:,.{decimals}f}"


def perplexity_text(mean: float | None, sd: float | None = None) -> str:
    """As `with_spread`; a perplexity beyond exp(20), which says no more than that, as `> 485 million`."""
    return "> 485 million" if mean is not None and is_capped(mean) else with_spread(mean, sd)


def percent(fraction: float | None, decimals: int = 1) -> str:
    return DASH if fraction is None else f"{fraction:.{decimals}%}"


def ratio(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}{TIMES}"


def millions(tokens: float) -> str:
    """Token counts, in millions where they are many: `4,096`, `0.16M`, `1.75M`, `50.0M`."""
    if tokens < 1e5:
        return whole(tokens)
    return f"{tokens / 1e6:.2f}M" if tokens < 1e7 else f"{significant(tokens / 1e6, 3)}M"


def compact(count: float | None) -> str:
    """Parameters with three digits: `250k`, `9.98M`."""
    if count is None:
        return DASH
    scale, unit = (1e6, "M") if count >= 1e6 else (1e3, "k")
    return f"{significant(count / scale, 3)}{unit}"


def usd(amount: float | None) -> str:
    return DASH if amount is None else f"${amount:,.2f}"


def hours(seconds: float) -> str:
    """Hours, minutes and seconds, `1:02:03`."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def whole(count: float) -> str:
    return f"{count:,.0f}"


def span(values: Iterable[float], show: Callable[[float], str] = whole) -> str:
    """Lowest to highest: `39`, or `20 to 39` where the two differ as printed."""
    known = sorted(values)
    first, last = show(known[0]), show(known[-1])
    return first if first == last else f"{first} to {last}"


def listed(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def count_of(number: int, noun: str) -> str:
    """`1 variant`, `3 variants`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def sentence(text: str) -> str:
    """With a capital at its beginning and a full stop at its end."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _exponent(value: float, digits: int = 16) -> int:
    """The power of ten of the first digit, once rounded to so many: 1 for 9.996 at three."""
    return math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}")))) if value else 0
