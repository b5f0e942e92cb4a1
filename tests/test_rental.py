"""The machine that a sweep would rent and its price: from a cluster file, asked for on a cluster only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cost.instances import price_table
from cost.sources import PriceUnavailableError
from paramalloc import rental as module
from paramalloc.config import CostConfig
from paramalloc.rental import SHIPPED_FILE, Machine, first_choice, rental

CLUSTER = """
max_workers: 3
provider: {type: aws, region: us-east-1, availability_zone: "us-east-1a, us-east-1b"}
head_node_type: head
available_node_types:
  head: {node_config: {InstanceType: m6i.large}}
  off: {priority: 99, max_workers: 0, node_config: {InstanceType: p3.2xlarge, InstanceMarketOptions: {}}}
  fallback: {priority: 98, node_config: {InstanceType: g6.xlarge}}
  second: {priority: 1, max_workers: 2, node_config: {InstanceType: g4dn.xlarge, InstanceMarketOptions: {}}}
  first: {priority: 2, node_config: {InstanceType: g5.2xlarge, InstanceMarketOptions: {MarketType: spot}}}
"""


class Refusing:
    """An EC2 that says no; `asked`: the regions of those who came."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    def __call__(self, region: str | None) -> Any:
        self.asked.append(region)
        raise PriceUnavailableError("no permission")


def test_the_first_choice_is_the_spot_worker_of_highest_priority_that_is_on(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(CLUSTER)
    zones = ("us-east-1a", "us-east-1b")
    assert first_choice(file) == Machine("g5.2xlarge", "us-east-1", zones, "cluster/c.yaml", 3, "m6i.large")
    file.write_text(
        CLUSTER.replace("{InstanceType: m6i.large}", "{InstanceType: m6i.large, InstanceMarketOptions: {}}")
    )
    spot_head = first_choice(file)
    assert spot_head
    assert spot_head.head_type is None
    assert first_choice(SHIPPED_FILE) is not None


@pytest.mark.parametrize("content", [None, "{", "[]", "provider: {type: local}", CLUSTER.split("  off")[0]])
def test_a_file_that_rents_nothing_gives_no_machine(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "c.yaml").write_text(content)
    assert first_choice(tmp_path / "c.yaml") is None


def test_away_from_a_cluster_nobody_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ec2 = Refusing()
    found = rental(CostConfig(), tmp_path, ec2)
    assert found
    assert rental(CostConfig(prices="fixed"), tmp_path, ec2) is None
    assert ec2.asked == []
    assert not found.here
    listed = price_table()
    assert found.price.usd_per_hour == (listed.usd_per_hour[found.machine.instance_type],) * 2
    assert found.head
    assert found.head.usd_per_hour == (listed.usd_per_hour["m6i.large"],) * 2
    assert listed.as_of in found.head.said_by


def test_on_a_cluster_its_own_file_counts_and_ec2_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(module, "BOOTSTRAP_FILE", tmp_path / "c.yaml")
    ec2 = Refusing()
    assert rental(CostConfig(), tmp_path, ec2) is None  # machines of one's own have no such file
    (tmp_path / "c.yaml").write_text(CLUSTER)
    found = rental(CostConfig(), tmp_path, ec2)
    assert found
    assert found.here
    assert found.machine.instance_type == "g5.2xlarge"
    assert ec2.asked == ["us-east-1", "us-east-1"]  # for the spot price, and for the head's
    assert "no permission" in found.price.said_by
