"""Which sample counts: by lifecycle, true before stale, and what a node's line says of its prices."""

from __future__ import annotations

from typing import Any

import pytest

from cost import ledger, summarize

Row = dict[str, Any]
MARKET = {"instance_type": "t", "zone": "za"}


def price(time: float, usd: float, **fields: Any) -> Row:
    return ledger.price(time=time, usd_per_hour=usd, **MARKET | fields)


def hour(*prices: Row, lifecycle: str | None = "spot", fixed: float | None = None) -> Row:
    """The summary of one node that is there for an hour."""
    spec = {"node": "n", "kind": "worker", "gpus": 1, "cpus": 4, "lifecycle": lifecycle, **MARKET}
    rows = [ledger.node_up(time=0, session="s", **spec), ledger.heartbeat(time=3600, session="s"), *prices]
    return summarize(rows, budget_usd=None, now=0.0, fixed_usd_per_hour=fixed)


@pytest.mark.parametrize(("lifecycle", "usd"), [("spot", 1.0), ("on-demand", 2.0), (None, 3.0)])
def test_a_price_of_the_nodes_own_lifecycle_goes_before_one_of_any(lifecycle: str | None, usd: float) -> None:
    prices = [price(0, 1.0, lifecycle="spot"), price(0, 2.0, lifecycle="on-demand"), price(0, 3.0)]
    assert hour(*prices, lifecycle=lifecycle)["total_usd"] == usd


def test_an_on_demand_price_is_not_the_price_of_a_spot_node() -> None:
    assert hour(price(0, 2.0, lifecycle="on-demand"))["total_usd"] is None


def test_a_stand_in_counts_only_until_a_true_price_is_known() -> None:
    stand_in = price(0, 9.0, stale=True)
    assert hour(stand_in)["total_usd"] == 9.0
    assert hour(stand_in, price(1800, 1.0))["total_usd"] == 1.0
    assert hour(price(0, 1.0), price(1800, 9.0, stale=True))["total_usd"] == 1.0


@pytest.mark.parametrize(
    ("prices", "stale"),
    [
        ([price(0, 1.0)], False),
        ([price(0, 1.0), price(600, 1.0, stale=True)], True),
        ([price(0, 1.0), price(600, 1.0, stale=True), price(900, 1.1)], False),
        # The same old sample, heard again after the stale time.
        ([price(0, 1.0), price(600, 1.0, stale=True), price(0, 1.0, observed_at=900.0)], False),
        ([price(600, 0.9, stale=True), price(600, 1.0)], False),
        ([price(0, 1.0, observed_at=300.0), price(600, 1.0, stale=True, observed_at=600.0)], True),
    ],
)
def test_a_price_is_stale_when_the_last_that_was_heard_is_that_nobody_knew(prices: list[Row], stale: bool) -> None:
    summary = hour(*prices)
    assert summary["by_node"][0]["usd_per_hour"]["stale"] is stale
    assert bool(summary["warnings"]) is stale


def test_a_nodes_line_tells_of_the_samples_in_force_while_it_was_there() -> None:
    """0.3, and 0.6 for the last quarter; what comes after is not its business."""
    prices = [price(2700, 0.6, source="EC2"), price(0, 0.3), price(3600, 5.0), price(0, 0.3, observed_at=8.0)]
    assert hour(*prices)["by_node"][0]["usd_per_hour"] == {
        "min": 0.3,
        "mean": 0.375,
        "max": 0.6,
        "last": 0.6,
        "samples": 2,
        "stale": False,
        "source": None,
    }
    earlier = [price(0, 7.0, node="n"), price(0, 7.0)]
    assert hour(*earlier)["by_node"][0]["usd_per_hour"]["samples"] == 1


def test_a_fixed_price_has_no_samples_and_an_unknown_one_no_numbers() -> None:
    (fixed,) = hour(lifecycle=None, fixed=0.25)["by_node"]
    assert (fixed["price"], fixed["usd_per_hour"]["mean"], fixed["usd_per_hour"]["samples"]) == ("fixed", 0.25, 0)
    (unknown,) = hour()["by_node"]
    assert (unknown["price"], unknown["usd_per_hour"]["last"], unknown["usd"]) == ("unknown", None, None)
