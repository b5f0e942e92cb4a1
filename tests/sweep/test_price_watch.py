"""Prices beside a sweep: EC2's through moto, a slow AWS, one that refuses, and machines that nobody asks about."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cost import ledger, summarize
from cost.sources import PriceUnavailableError
from paramalloc.config import CostConfig
from paramalloc.files import read_jsonl
from paramalloc.results import ResultsFolder
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.machines import price_watch
from paramalloc.sweep.machines.nodes import Node, NodeWatch
from paramalloc.sweep.machines.price_watch import PriceWatch

from cluster.notice import NodeRecord  # isort: skip

NOW = 1_750_000_000.0
SPOT = NodeRecord("i-1", "g5.xlarge", "us-east-1b", "spot")
LOCAL_ZONE = NodeRecord("i-2", "g5.xlarge", "us-west-2-lax-1a", "spot")
Connect = Callable[[str | None], tuple[Any, Any, str]]


class Sweep:
    """A driver's journal and machines, one of which joins with the record given."""

    def __init__(self, root: Path, connect: Connect, **cost: Any) -> None:
        self.folder, self.said, self.now = ResultsFolder(root), list[str](), NOW
        self.journal = Journal(self.folder, CostConfig(**cost), self.said.append, clock=lambda: self.now)
        self.prices = PriceWatch(self.journal, connect)

    def join(self, record: NodeRecord | None) -> None:
        node = Node("n" * 56, False, 4.0, 1.0)
        NodeWatch(
            self.journal,
            True,
            lambda: {node.id: node},
            lambda: {node.id: record} if record else {},
            prices=self.prices,
        ).close()

    def bill_of_a_minute(self) -> dict[str, Any]:
        self.now += 60.0
        return self.journal.bill_now({})

    def rows(self) -> list[dict[str, Any]]:
        return [row for row in read_jsonl(self.folder.events) if row["event"] == "price"]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine moto is slow too."""
    monkeypatch.setattr(price_watch, "LAST_WORD_SECONDS", 60.0)


def never(region: str | None) -> tuple[Any, Any, str]:
    raise AssertionError("nobody may be asked")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str | None]]:
    """EC2 as moto plays it, which has spot prices and no price list; the regions that were asked for."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        yield []


def through_moto(regions: list[str | None]) -> Connect:
    def connect(region: str | None) -> tuple[Any, Any, str]:
        regions.append(region)
        ec2 = boto3.client("ec2", region_name=region)
        return ec2, Silent(), str(region)

    return connect


class Silent:
    def get_products(self, **request: Any) -> None:
        raise PriceUnavailableError("no price list here")


def test_a_rented_machine_has_the_prices_of_its_zone_sampled_into_the_ledger(
    tmp_path: Path, aws: list[str | None]
) -> None:
    sweep = Sweep(tmp_path, through_moto(aws))
    sweep.join(SPOT)
    sweep.prices.close()
    assert aws == ["us-east-1"]
    by_lifecycle = {row["lifecycle"]: row for row in sweep.rows()}
    asked = boto3.client("ec2", region_name="us-east-1").describe_spot_price_history(InstanceTypes=["g5.xlarge"])
    spot = {price["AvailabilityZone"]: float(price["SpotPrice"]) for price in asked["SpotPriceHistory"]}
    assert by_lifecycle["spot"]["usd_per_hour"] == spot["us-east-1b"]
    assert by_lifecycle["spot"]["source"] == "EC2 spot price history"
    assert by_lifecycle["on-demand"]["stale"]  # of the dated table
    assert sweep.bill_of_a_minute()["by_node"][0]["usd_per_hour"]["last"] == spot["us-east-1b"]


def test_the_region_is_that_of_the_zone(tmp_path: Path, aws: list[str | None]) -> None:
    sweep = Sweep(tmp_path, through_moto(aws))
    sweep.join(LOCAL_ZONE)
    sweep.prices.close()
    assert aws == ["us-west-2"]


@pytest.mark.parametrize("prices", ["auto", "fixed"])
def test_a_machine_of_ones_own_is_nothing_to_ask_about(tmp_path: Path, prices: str) -> None:
    sweep = Sweep(tmp_path, never, fixed_usd_per_hour=2.0, prices=prices)
    sweep.join(None)
    (row,) = sweep.rows()  # at once: a driver may be killed
    sweep.prices.close()
    assert (row["node"], row["usd_per_hour"], row["lifecycle"]) == ("n" * 56, 2.0, "own")
    for fixed in (None, 5.0):  # a replay knows, and another price later changes nothing
        rows = [*read_jsonl(sweep.folder.events), ledger.heartbeat(time=NOW + 3600, session=sweep.journal.session)]
        (line,) = summarize(rows, budget_usd=None, now=0.0, fixed_usd_per_hour=fixed)["by_node"]
        assert (line["usd"], line["price"]) == (2.0, "fixed")
    assert not any(thread.name == "prices" for thread in threading.enumerate())


def test_a_machine_that_turns_out_to_be_rented_has_not_the_price_of_ones_own(
    tmp_path: Path, aws: list[str | None]
) -> None:
    sweep = Sweep(tmp_path, through_moto(aws))
    sweep.join(None)
    sweep.join(SPOT)
    sweep.prices.close()
    spot = next(row["usd_per_hour"] for row in sweep.rows() if row["lifecycle"] == "spot")
    (line,) = sweep.bill_of_a_minute()["by_node"]
    assert (line["lifecycle"], line["price"], line["usd_per_hour"]["last"]) == ("spot", "sampled", spot)


def test_with_fixed_prices_a_rented_machine_costs_what_the_sweep_file_says_and_nobody_is_asked(
    tmp_path: Path,
) -> None:
    sweep = Sweep(tmp_path, never, fixed_usd_per_hour=2.0, prices="fixed")
    sweep.join(SPOT)
    sweep.prices.close()
    (row,) = sweep.rows()
    assert (row["node"], row["usd_per_hour"]) == ("n" * 56, 2.0)
    assert "fixed_usd_per_hour" in row["source"]


def test_a_slow_aws_holds_nobody_up_and_what_it_said_in_the_end_is_kept(
    tmp_path: Path, aws: list[str | None]
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def slow(region: str | None) -> tuple[Any, Any, str]:
        asked.set()
        assert answer.wait(60)
        return through_moto(aws)(region)

    sweep = Sweep(tmp_path, slow)
    sweep.join(SPOT)
    assert asked.wait(60)
    sweep.prices.tick()  # returns although AWS has not answered
    assert sweep.rows() == []
    answer.set()
    sweep.prices.close()
    assert {row["lifecycle"] for row in sweep.rows()} == {"spot", "on-demand"}


def test_settings_that_make_no_client_leave_the_dated_table_as_an_upper_bound_and_say_so(tmp_path: Path) -> None:
    def refuse(region: str | None) -> tuple[Any, Any, str]:
        raise PriceUnavailableError("The config profile (gone) could not be found")

    sweep = Sweep(tmp_path, refuse)
    sweep.join(SPOT)
    sweep.prices.close()
    assert {row["stale"] for row in sweep.rows()} == {True}
    assert len({row["usd_per_hour"] for row in sweep.rows()}) == 1
    assert any("profile (gone)" in text for text in sweep.said)
    bill = sweep.bill_of_a_minute()
    assert bill["total_usd"] > 0
    assert bill["by_node"][0]["usd_per_hour"]["stale"]


def test_a_resumed_sweep_writes_down_no_price_twice(tmp_path: Path, aws: list[str | None]) -> None:
    for _ in range(2):
        sweep = Sweep(tmp_path, through_moto(aws))
        sweep.join(SPOT)
        sweep.prices.close()
    times = [(row["lifecycle"], row["time"]) for row in sweep.rows() if row["lifecycle"] == "spot"]
    assert len(times) == len(set(times)) > 0
