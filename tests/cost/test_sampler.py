"""The sampler: every change of price once, with EC2's own time; stale when nobody answers; never an exception."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from cost import ledger, summarize
from cost.sampler import PriceSampler
from cost.sources import PriceUnavailableError, Quote, Retry, SpotHistory

from .conftest import Change, RecordedEc2, refused

Row = dict[str, Any]
MINUTE = 60.0
START = datetime(2015, 6, 1, tzinfo=UTC).timestamp()
MARKET = {"instance_type": "t", "zone": "za"}


class Scripted:
    """A price source that answers what it is told: dollars, or a reason for having none."""

    def __init__(self, lifecycle: str, answer: float | str) -> None:
        self.lifecycle, self.answer = lifecycle, answer
        self.asked: list[float] = []
        self.since: list[float] = []
        self.changed_at, self.stale, self.zone = 0.0, False, "za"

    def quotes(self, instance_type: str, since: float, until: float) -> list[Quote]:
        self.asked.append(until)
        self.since.append(since)
        if isinstance(self.answer, str):
            raise PriceUnavailableError(self.answer)
        zone = None if self.lifecycle == "on-demand" else self.zone
        return [Quote(instance_type, zone, self.lifecycle, self.answer, self.changed_at, "test", self.stale)]


class Bench:
    """A sampler with both its sources, and the rows that it wrote."""

    def __init__(self, spot: float | str = 0.4, on_demand: float | str = 1.0, known: list[Row] | None = None) -> None:
        self.spot, self.on_demand = Scripted("spot", spot), Scripted("on-demand", on_demand)
        self.rows: list[Row] = []
        self.sampler = PriceSampler(self.spot, self.on_demand, self.rows.append, known or [])
        self.sampler.watch("t", "za", "spot", 0.0)

    def prices(self, lifecycle: str) -> list[tuple[float, float, bool]]:
        return [
            (row["time"], row["usd_per_hour"], row["stale"]) for row in self.rows if row["lifecycle"] == lifecycle
        ]


def test_a_day_of_recorded_prices_is_written_once_each_whatever_is_throttled(
    g2_prices: dict[tuple[str, str], list[Change]], recorded: Callable[..., RecordedEc2]
) -> None:
    """Every third request fails for good; the next tick asks for what was missed."""
    ec2 = recorded(*([None, None, refused("Throttling")] * 40))
    rows: list[Row] = []
    spot = SpotHistory(ec2, Retry(attempts=1), page_size=1000)
    sampler = PriceSampler(spot, Scripted("on-demand", "no permission"), rows.append)
    sampler.watch("g2.2xlarge", "us-east-1a", "spot", START)
    for tick in range(100):
        sampler.tick(START + tick * 5 * MINUTE)
    changes = [(time.timestamp(), float(usd)) for time, usd in g2_prices["g2.2xlarge", "us-east-1a"]]
    first = max(time for time, _ in changes if time <= START)
    expected = [change for change in changes if first <= change[0] <= START + 99 * 5 * MINUTE]
    true = [(row["time"], row["usd_per_hour"]) for row in rows if not row["stale"]]
    assert sorted(set(true)) == expected
    assert len(ec2.requests) == 100
    assert all(row["observed_at"] >= row["time"] for row in rows)
    assert {row["zone"] for row in rows} == {"us-east-1a"}


def test_it_asks_every_few_minutes_and_for_list_prices_once_a_day() -> None:
    bench = Bench()
    for minute in range(0, 26 * 60):
        bench.sampler.tick(minute * MINUTE)
    assert bench.spot.asked == [minute * MINUTE for minute in range(0, 26 * 60, 5)]
    assert bench.on_demand.asked == [0.0, 24 * 3600.0]
    assert bench.prices("spot") == [(0.0, 0.4, False)]


def test_a_new_node_is_priced_at_the_next_tick() -> None:
    bench = Bench()
    bench.sampler.tick(0.0)
    bench.sampler.watch("u", "za", "on-demand", 30.0)
    bench.sampler.tick(60.0)
    assert {(row["instance_type"], row["lifecycle"]) for row in bench.rows} == {
        *(("t", "spot"), ("t", "on-demand"), ("u", "on-demand"))
    }


def test_the_last_known_price_is_said_to_be_stale_once_and_then_known_again() -> None:
    bench = Bench()
    assert bench.sampler.tick(0.0) == []
    bench.spot.answer = "Throttling: slow down"
    (told,) = bench.sampler.tick(300.0)
    assert told == "spot t in za: $0.4000 an hour is stale: last known price (Throttling: slow down)"
    assert bench.sampler.tick(600.0) == []
    bench.spot.answer = 0.4
    assert bench.sampler.tick(900.0) == ["spot t in za: the price is known again"]
    assert bench.prices("spot") == [(0.0, 0.4, False), (300.0, 0.4, True), (0.0, 0.4, False)]


@pytest.mark.parametrize("stale_list", [False, True])
def test_a_spot_price_never_known_is_billed_at_the_on_demand_price_until_it_is(stale_list: bool) -> None:
    bench = Bench(spot="UnauthorizedOperation", on_demand=1.0)
    bench.on_demand.stale = stale_list
    bench.sampler.tick(60.0)
    assert bench.prices("spot") == [(60.0, 1.0, True)]
    assert [stale for _, _, stale in bench.prices("on-demand")] == [stale_list]
    assert bench.rows[-1]["source"] == "on-demand price as an upper bound (test; UnauthorizedOperation)"
    up = ledger.node_up(time=0.0, session="s", node="n", kind="worker", gpus=1, cpus=4, lifecycle="spot", **MARKET)
    hour = [up, ledger.heartbeat(time=3600.0, session="s")]

    def summary() -> Row:
        return summarize([*hour, *bench.rows], budget_usd=None, now=0.0, fixed_usd_per_hour=None)

    assert summary()["total_usd"] == 1.0
    assert "its price is stale (on-demand price as an upper bound" in summary()["warnings"][0]
    bench.spot.answer = 0.3
    bench.sampler.tick(360.0)
    assert (summary()["total_usd"], summary()["warnings"]) == (0.3, [])


def test_with_no_price_at_all_nothing_is_written_and_it_is_told_once() -> None:
    bench = Bench(spot="no network", on_demand="no network")
    told = bench.sampler.tick(0.0)
    assert told == [f"{kind} t in za: no price is known (no network)" for kind in ("on-demand", "spot")]
    assert bench.sampler.tick(300.0) == []
    assert bench.rows == []
    bench.on_demand.answer = 1.0
    bench.sampler.tick(600.0)
    assert bench.prices("spot") == [(600.0, 1.0, True)]


def test_a_zone_that_ec2_does_not_mention_has_no_price() -> None:
    bench = Bench(on_demand="no permission")
    bench.spot.zone = "zb"
    assert "spot t in za: no price is known (EC2 knows no price of t there)" in bench.sampler.tick(0.0)
    assert bench.rows == []


def test_a_resumed_sweep_repeats_nothing_and_asks_from_where_it_stood() -> None:
    earlier = Bench()
    earlier.sampler.tick(300.0)
    resumed = Bench(known=earlier.rows)
    resumed.sampler.tick(7200.0)
    assert resumed.rows == []
    assert resumed.spot.since == [300.0]
    assert resumed.on_demand.asked == []
    resumed.spot.answer = "no network"
    resumed.sampler.tick(9000.0)
    assert resumed.prices("spot") == [(9000.0, 0.4, True)]
