"""`python -m cost prices`: each zone beside on-demand, the cheapest training, and words for what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError

from cost.__main__ import main
from cost.instances import Throughput, peak_throughput
from cost.offers import find_offers
from cost.sources import PriceUnavailableError, Quote

from .conftest import RecordedEc2, refused

NOW = 1_700_000_000.0
SPEED = Throughput("1M tokens", {"fast": 100.0, "slow": 10.0}, "measured")


class Market:
    """A price source with these dollars by type and zone."""

    def __init__(self, lifecycle: str, usd: dict[str, dict[str | None, float]]) -> None:
        self.lifecycle, self.usd = lifecycle, usd

    def quotes(self, instance_type: str, since: float, until: float) -> list[Quote]:
        if instance_type not in self.usd:
            raise PriceUnavailableError("never heard of it")
        zones = self.usd[instance_type]
        return [Quote(instance_type, zone, self.lifecycle, usd, NOW, "test") for zone, usd in zones.items()]


def test_offers_are_sorted_by_what_training_costs_and_show_the_saving() -> None:
    spot = Market("spot", {"fast": {"za": 3.0, "zb": 2.0}, "slow": {"za": 0.5}, "odd": {"za": 0.1}})
    listed = Market("on-demand", {"fast": {None: 8.0}, "slow": {None: 0.4}, "listed": {None: 5.0}})
    found = find_offers(["slow", "listed", "fast", "odd", "none"], spot, listed, SPEED, NOW)
    told = [(one.instance_type, one.zone, one.usd_per_hour, one.saving, one.usd_per_unit) for one in found.offers]
    assert told == [
        ("fast", "zb", 2.0, 0.75, 0.02),
        ("fast", "za", 3.0, 0.625, 0.03),
        ("slow", "za", 0.5, -0.25, 0.05),
        ("odd", "za", 0.1, None, None),
        ("listed", None, 5.0, None, None),
    ]
    assert found.cheapest == found.offers[0]
    assert found.problems == (
        "listed spot: never heard of it",
        "odd on demand: never heard of it",
        "none spot: never heard of it",
        "none on demand: never heard of it",
    )


class Silent:
    """A pricing client without permission."""

    def get_products(self, **_: Any) -> Any:
        raise refused("AccessDeniedException", 403, "GetProducts")


def connected(*failures: Exception | None) -> Any:
    since = datetime(2023, 11, 1, 12, 30, tzinfo=UTC)
    markets = {("g5.xlarge", "us-east-1a"): [(since, "0.4024")], ("g5.xlarge", "us-east-1b"): [(since, "0.503")]}
    return lambda region: (RecordedEc2(markets, failures), Silent(), region or "us-east-1")


def test_the_command_prints_prices_with_their_dates(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices", "--types", "g5.xlarge, p3.2xlarge,g5.xlarge"], NOW, connected()) == 0
    shown = capsys.readouterr().out
    table = [line.split() for line in shown.splitlines()]
    assert ["g5.xlarge", "us-east-1a", "11-01", "12:30", "0.4024", "1.0060", "60%", "5.7486"] in table
    assert ["p3.2xlarge", "any", "-", "-", "3.0600", "-", "24.4800"] in table
    assert "cheapest training: g5.xlarge, spot in us-east-1a, $5.7486 per unit\n" in shown
    assert "on demand: table of 2025-05-01 for us-east-1, as the AWS price list failed (AccessDenied" in shown
    assert "not known: p3.2xlarge spot: EC2 knows no spot price of p3.2xlarge in this region\n" in shown


def test_measured_speeds_decide_what_is_cheapest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "speeds.json").write_text('{"g5.xlarge": 40000}')
    command = ["prices", "--types", "g5.xlarge", "--throughput", str(tmp_path / "speeds.json"), "--json"]
    assert main(command, NOW, connected()) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["region"], found["unit"], found["cheapest"]) == (
        "us-east-1",
        "1M tokens",
        ["g5.xlarge", "us-east-1a"],
    )
    assert found["offers"][0]["usd_per_unit"] == pytest.approx(0.4024 / (40_000 * 3600 / 1e6))
    assert found["offers"][0]["spot_since"] == "2023-11-01T12:30:00Z"


def test_without_any_price_the_exit_code_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices", "--types", "odd.large"], NOW, connected(refused("UnauthorizedOperation", 403))) == 1
    shown = capsys.readouterr().out
    assert "not known: odd.large spot: UnauthorizedOperation: as tested\n" in shown
    assert "not known: odd.large on demand: AccessDeniedException: as tested\n" in shown


@pytest.mark.parametrize(
    ("trouble", "advice"),
    [
        (NoCredentialsError(), "set AWS_PROFILE or run `aws configure`"),
        (EndpointConnectionError(endpoint_url="https://ec2"), "check the network or AWS_ENDPOINT_URL"),
    ],
)
def test_a_dated_on_demand_price_is_no_answer_and_the_trouble_has_advice(
    trouble: Exception, advice: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    command = ["prices", "--types", "g5.xlarge", "--json"]
    assert main(command, NOW, connected(*[trouble] * 3)) == 1
    found = json.loads(capsys.readouterr().out)
    assert [offer["on_demand_stale"] for offer in found["offers"]] == [True]
    assert found["problems"][0].endswith(advice)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--types", " , "], "cost: --types: got ' , '; instance types, such as"),
        (["--types", "a", "--throughput", "no/such.json"], "cost: no/such.json: got"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices", *arguments], NOW, connected()) == 2
    assert capsys.readouterr().err.startswith(part)


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": 0}', '{"a": "fast"}', '{"a": NaN}'])
def test_speeds_that_are_none_are_a_mistake(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "speeds.json").write_text(content)
    command = ["prices", "--types", "a", "--throughput", str(tmp_path / "speeds.json")]
    assert main(command, NOW, connected()) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_settings_of_aws_that_cannot_be_right_are_a_mistake() -> None:
    command = [sys.executable, "-m", "cost", "prices", "--types", "g5.xlarge", "--region", "over there"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("cost: AWS: got ")


def test_the_peak_table_knows_the_gpus_of_the_types_it_prices() -> None:
    peak = peak_throughput()
    assert peak.per_hour["p3.16xlarge"] == pytest.approx(8 * peak.per_hour["p3.2xlarge"])
    assert peak.per_hour["p4d.24xlarge"] > peak.per_hour["g5.xlarge"] > 0
