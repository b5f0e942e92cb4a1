"""Curves read off at a budget: exact on power laws, never beyond their ends."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramalloc.statistics.equal_budget import Reading, common_budget, read_at


@given(st.floats(1.0, 64.0), st.floats(-0.5, -0.01), st.floats(2.0, 8.0))
def test_a_power_law_is_read_exactly_between_its_points(budget: float, exponent: float, scale: float) -> None:
    def loss(x: float) -> float:
        return scale + exponent * math.log(x)

    curve = [(float(x), math.exp(loss(x))) for x in (1, 2, 4, 8, 16, 32, 64)]
    reading = read_at(curve, budget)
    assert reading is not None
    assert math.log(reading.value) == pytest.approx(loss(budget), abs=1e-9)


def test_a_point_is_taken_as_it_is_and_what_lies_between_is_marked() -> None:
    curve = [(1e12, 61.0), (2e12, 52.0), (4e12, 40.0)]
    assert read_at(curve, 2e12) == Reading(52.0, interpolated=False)
    assert read_at(curve, 2e12 * (1 + 1e-12)) == Reading(52.0, interpolated=False)  # one budget, counted two ways
    middle = read_at(curve, 2**1.5 * 1e12)
    assert middle is not None
    assert middle.interpolated
    assert middle.value == pytest.approx(math.sqrt(52.0 * 40.0))


def test_nothing_is_read_beyond_the_ends() -> None:
    curve = [(1e12, 61.0), (2e12, 52.0)]
    assert read_at(curve, 0.9e12) is None
    assert read_at(curve, 2.1e12) is None
    assert read_at([], 1.0) is None


def test_the_common_budget_is_the_least_of_the_ends() -> None:
    assert common_budget([[(1.0, 9.0), (8.0, 3.0)], [(2.0, 9.0), (6.0, 3.0)]]) == 6.0
    assert common_budget([[(1.0, 9.0)], []]) is None
    assert common_budget([]) is None
