"""The budget: what it allows in words, and estimates as ranges."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost import CostError
from cost.budget import Decision, Go, HoldNewTrials, Stop, Warn, decide, estimate


@pytest.mark.parametrize(
    ("spent", "committed", "reserve", "budget", "kind", "text"),
    [
        (1.0, 2.0, 3.0, 10.0, Go, "$1.00 of the $10.00 budget spent"),
        (7.99, 0.0, 0.0, 10.0, Go, "$7.99 of the $10.00 budget spent"),
        (8.0, 0.0, 0.0, 10.0, Warn, "$8.00 of the $10.00 budget spent (80%)"),
        (8.0, 1.0, 1.0, 10.0, Warn, "$8.00 of the $10.00 budget spent (80%)"),
        (
            *(3.0, 4.0, 3.5, 10.0, HoldNewTrials),
            "$3.00 of the $10.00 budget spent; with $4.00 to finish what runs or would start next, $3.50 reserved "
            "for later stages, it would be passed",
        ),
        (0.1, 0.1, 0.1, 0.3, Go, "$0.10 of the $0.30 budget spent"),
        (0.2, 0.1, 0.1, 0.4, Go, "$0.20 of the $0.40 budget spent"),
        (10.0, 5.0, 5.0, 10.0, Stop, "$10.00 of the $10.00 budget spent"),
        (1234.5, 0.0, 0.0, 1000.0, Stop, "$1,234.50 of the $1,000.00 budget spent"),
        (99.0, 9.0, 9.0, None, Go, "no budget is set"),
        (None, 1.0, 1.0, 10.0, Warn, "no price is known, so nothing guards the budget of $10.00"),
    ],
)
def test_what_a_budget_allows(
    spent: float | None, committed: float, reserve: float, budget: float | None, kind: type[Decision], text: str
) -> None:
    decision = decide(spent, committed, reserve, budget)
    assert type(decision) is kind
    assert decision.text == text


AMOUNT = st.floats(0, 1000)
STRICTNESS = [Go, Warn, HoldNewTrials, Stop]


@given(AMOUNT, AMOUNT, AMOUNT, st.floats(0.01, 1000), AMOUNT)
def test_more_money_gone_never_allows_more_and_a_higher_budget_never_less(
    spent: float, committed: float, reserve: float, budget: float, more: float
) -> None:
    def strictness(*amounts: float) -> int:
        return STRICTNESS.index(type(decide(*amounts)))

    now = strictness(spent, committed, reserve, budget)
    assert strictness(spent + more, committed, reserve, budget) >= now
    assert strictness(spent, committed + more, reserve, budget) >= now
    assert strictness(spent, committed, reserve + more, budget) >= now
    assert strictness(spent, committed, reserve, budget + more) <= now


def test_an_estimate_goes_from_fast_and_cheap_to_slow_and_dear() -> None:
    """360M tokens: 10 to 20 node-hours, on two nodes 5 to 10 hours, each with 6 minutes of boot per node."""
    guess = estimate(
        *(360_000_000, (5_000.0, 10_000.0), (0.5, 1.0)),
        nodes=2,
        head_usd_per_hour=(0.1, 0.1),
        boot_seconds=360.0,
    )
    assert guess.node_hours == pytest.approx((10.2, 20.2))
    assert guess.hours == pytest.approx((5.1, 10.1))
    assert guess.usd == pytest.approx((10.2 * 0.5 + 5.1 * 0.1, 20.2 * 1.0 + 10.1 * 0.1))
    assert guess.text == "$5.61 to $21.21, 10.2 to 20.2 node-hours"


def test_one_known_speed_and_price_are_a_range_of_no_width() -> None:
    assert estimate(3600, (1.0, 1.0), (2.0, 2.0)).usd == (2.0, 2.0)


@pytest.mark.parametrize(
    ("speed", "price", "nodes", "place"),
    [
        ((0.0, 1.0), (1.0, 1.0), 1, "tokens_per_second"),
        ((2.0, 1.0), (1.0, 1.0), 1, "tokens_per_second"),
        ((1.0, 1.0), (2.0, 1.0), 1, "usd_per_hour"),
        ((1.0, 1.0), (-1.0, 1.0), 1, "usd_per_hour"),
        ((1.0, float("nan")), (1.0, 1.0), 1, "tokens_per_second"),
        ((1.0, 1.0), (1.0, 1.0), 0, "nodes"),
    ],
)
def test_a_range_that_is_none_is_a_mistake(
    speed: tuple[float, float], price: tuple[float, float], nodes: int, place: str
) -> None:
    with pytest.raises(CostError) as caught:
        estimate(1, speed, price, nodes=nodes)
    assert caught.value.place == place
