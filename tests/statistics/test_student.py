"""Student's t against SciPy."""

from __future__ import annotations

import pytest
from scipy import stats

from paramalloc.statistics.student import cdf, power, quantile, two_sided_p

DEGREES = [1, 2, 3, 4, 5, 8, 9, 30, 101]


@pytest.mark.parametrize("df", DEGREES)
def test_probabilities_and_quantiles_agree_with_scipy(df: int) -> None:
    for t in (-4.0, -0.3, 0.0, 0.7, 2.0, 12.0):
        assert cdf(t, df) == pytest.approx(stats.t.cdf(t, df), abs=1e-12)
        assert two_sided_p(t, df) == pytest.approx(2 * stats.t.sf(abs(t), df), abs=1e-12)
    for probability in (0.01, 0.5, 0.8, 0.975):
        assert quantile(probability, df) == pytest.approx(stats.t.ppf(probability, df), rel=1e-9, abs=1e-12)


def test_infinitely_far_out_nothing_is_left() -> None:
    assert two_sided_p(float("inf"), 3) == pytest.approx(0, abs=1e-15)
    assert cdf(float("-inf"), 4) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("df", DEGREES)
@pytest.mark.parametrize("alpha", [0.05, 0.05 / 3])
def test_power_is_the_tail_of_the_non_central_t(df: int, alpha: float) -> None:
    critical = stats.t.ppf(1 - alpha / 2, df)
    for shift in (0.0, 1.5, 4.0):
        expected = stats.nct.sf(critical, df, shift) + stats.nct.cdf(-critical, df, shift)
        assert power(shift, df, alpha) == pytest.approx(expected, abs=1e-4)
