"""Numbers as a reader sees them."""

from __future__ import annotations

import pytest

from paramalloc.evaluation.units import perplexity
from paramalloc.formats import (
    compact,
    hours,
    listed,
    millions,
    perplexity_text,
    significant,
    span,
    usd,
    with_spread,
)

DASH = "\N{EN DASH}"


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (61.4249, 4, "61.42"),
        (9.99987, 4, "10.00"),  # rounding up moves the first digit
        (45_231.0, 3, "45,200"),
        (0.000123456, 2, "0.00012"),
        (-2.745, 2, "-2.7"),
        (0.0, 3, "0.00"),
        (None, 4, DASH),
    ],
)
def test_significant_digits_without_powers_of_ten(value: float | None, digits: int, text: str) -> None:
    assert significant(value, digits) == text


@pytest.mark.parametrize(
    ("mean", "sd", "text"),
    [
        (61.4249, 0.3512, "61.42 ± 0.35"),
        (1234.5, 12.3, "1,234 ± 12"),
        (61.4249, 0.0996, "61.42 ± 0.10"),
        (61.4249, None, "61.42"),
        (61.4249, 0.0, "61.42"),
        (None, None, DASH),
    ],
)
def test_the_spread_sets_the_digits_of_its_mean(mean: float | None, sd: float | None, text: str) -> None:
    assert with_spread(mean, sd) == text


def test_units_and_lists() -> None:
    counts = (0, 4_096, 160_000, 1_750_000, 50_003_968)
    assert [millions(count) for count in counts] == ["0", "4,096", "0.16M", "1.75M", "50.0M"]
    assert [compact(250_112), compact(9_995_700), compact(None)] == ["250k", "10.0M", DASH]
    assert [usd(1234.5), usd(None), hours(3723.4)] == ["$1,234.50", DASH, "1:02:03"]
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
    assert [span([39, 20]), span([39, 39])] == ["20 to 39", "39"]


def test_a_perplexity_that_was_capped_is_shown_as_a_bound() -> None:
    assert perplexity_text(perplexity(25.0)) == "> 485 million"
    assert perplexity_text(61.4249, 0.3512) == "61.42 ± 0.35"
    assert perplexity_text(None) == DASH
