"""A real sweep on two rented machines: its bill against their true lifetimes and the prices that EC2 had."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import cost
from benchmarks.local_cluster import Driver, LocalCluster
from paramalloc.config import SweepConfig
from paramalloc.files import read_json
from paramalloc.results import RANKING, ResultsFolder
from paramalloc.sweep_file import dump_sweep
from tests.sweep.rented import Change, RentedCluster

pytestmark = [pytest.mark.long, pytest.mark.aws]
SCHEMA = Path(cost.__file__).with_name("cost_summary.schema.json")
TYPE, SPARE_ZONE, TAKEN_ZONE = "g2.2xlarge", "us-east-1b", "us-east-1a"
# An hour in which a machine in us-east-1b cost 5 dollars, so that a minute of it is cents; then a price changes.
RECORDED_CHANGE = datetime.fromisoformat("2015-08-19T16:38:02+00:00").timestamp()
WITHIN_SECONDS = 2.0


def recorded(shared_data: Path, zone: str, later: float) -> list[Change]:
    """Recorded prices of a zone, moved in time."""
    path = shared_data / "spot" / "aws-g2.2xlarge-2015" / f"{zone}_Linux_{TYPE}.csv"
    with path.open() as stream:
        rows = list(csv.DictReader(stream))
    return [(datetime.fromisoformat(row["timestamp"]).timestamp() + later, row["spot_price_usd"]) for row in rows]


def usd_between(changes: list[Change], start: float, end: float) -> float:
    """Second by second."""
    prices = dict.fromkeys(range(int(start), int(end)), 0.0)
    return sum(float([usd for moment, usd in changes if moment <= second][-1]) / 3600 for second in prices)


def test_the_bill_of_a_sweep_on_two_machines_is_that_of_their_lifetimes_at_the_prices_of_their_zones(
    tiny: Callable[..., SweepConfig], tmp_path: Path, shared_data: Path
) -> None:
    """One machine is taken by EC2, the other is there to the end.

    Had Ray left the idle machine before it was taken, it is paid for until its notice is up; else it is free.
    """
    config = tiny(
        experiments=[{"name": "base"}, {"name": "wide", "glu_expansion": 4.0}],
        ranking={"tokens": 60_000, "eval_interval_tokens": 10_000, "kill_rule": {"enabled": False}},
        finalists={"seeds": [0]},
        sanity={"enabled": False},
    )
    sweep, folder = tmp_path / "tiny.yaml", ResultsFolder(tmp_path / "tiny")
    sweep.write_text(dump_sweep(config))
    with LocalCluster() as cluster, RentedCluster(cluster, {}) as ec2:
        driver = Driver(sweep, folder, cluster.address)
        driver.wait_for(lambda: driver.events("waiting"))
        later = time.time() + 2.0 - RECORDED_CHANGE
        ec2.prices.markets = {(TYPE, zone): recorded(shared_data, zone, later) for zone in (SPARE_ZONE, TAKEN_ZONE)}
        spare, taken = ec2.launch(TYPE, SPARE_ZONE), ec2.launch(TYPE, TAKEN_ZONE)
        driver.wait_for(lambda: {row["node"] for row in driver.events("trial_start")} == {spare.name, taken.name})
        taken.notice()
        driver.wait_for(lambda: driver.events("trial_preempted"))
        taken.take()
        driver.wait_for(lambda: driver.events("session_end"))
        ended = time.time()
        code, said = driver.end()
        spare.take()
    assert code == 0, said

    summary = read_json(folder.cost_summary)
    jsonschema.validate(summary, json.loads(SCHEMA.read_text()))
    by_node: dict[str, dict[str, Any]] = {line["node"]: line for line in summary["by_node"]}
    down = next(row for row in driver.events("node_down") if row["node"] == taken.name)
    assert down["why"] in ("aws", "drained")
    free = down["why"] == "aws"
    for machine, until in ((taken, taken.ended if free else down["paid_until"]), (spare, ended)):
        assert abs(by_node[machine.name]["node_seconds"] - (until - machine.began)) <= WITHIN_SECONDS
    assert (by_node[taken.name]["ended"], by_node[taken.name]["first_hour_free"]) == (down["why"], free)
    of_taken = 0.0 if free else usd_between(ec2.prices.markets[TYPE, TAKEN_ZONE], taken.began, down["paid_until"])
    assert by_node[taken.name]["usd"] == pytest.approx(of_taken, abs=0.01)
    due = usd_between(ec2.prices.markets[TYPE, SPARE_ZONE], spare.began, ended)
    assert by_node[spare.name]["usd"] == pytest.approx(due, abs=0.01)
    assert summary["total_usd"] == pytest.approx(due + of_taken, abs=0.01)
    assert by_node[spare.name]["usd_per_hour"] | {"max": 5.02, "min": 5.01} == by_node[spare.name]["usd_per_hour"]
    assert summary["by_use"]["boot"]["node_seconds"] > 0
    (trial,) = [line for line in summary["by_trial"] if (line["stage"], line["trial"]) == (RANKING, "base")]
    assert trial["node_seconds"] > 0
    assert {zone for _, zone in ec2.prices.markets} == {row["zone"] for row in driver.events("price")} - {None}
