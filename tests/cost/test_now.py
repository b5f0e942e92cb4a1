"""What a spot instance costs just now: EC2's word, the last known price, the dated table; and no wait without end."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from cost import ledger
from cost.instances import price_table
from cost.now import Connect, on_demand_price_now, spot_price_now
from cost.sources import PriceUnavailableError
from tests.cost.conftest import RecordedEc2, refused

NOW = 1_700_000_000.0
ZONES = ("us-east-1a", "us-east-1b")
MARKETS = {
    ("g5.xlarge", zone): [(datetime.fromtimestamp(NOW - ago, UTC), usd) for ago, usd in changes]
    for zone, changes in {
        "us-east-1a": [(7200, "0.90"), (60, "0.41")],
        "us-east-1b": [(600, "0.52")],
        "us-east-1c": [(600, "0.10")],
    }.items()
}


def connected(ec2: Any) -> Connect:
    return lambda region: (ec2, None, str(region))


def test_ec2_is_asked_for_the_zones_of_the_cluster() -> None:
    found = spot_price_now("g5.xlarge", "us-east-1", ZONES, NOW, connect=connected(RecordedEc2(MARKETS)))
    assert found
    assert found.usd_per_hour == (0.41, 0.52)
    assert found.said_by == "EC2's spot price now in 2 zones of us-east-1"


def sample(usd: float, at: float, stale: bool = False, zone: str = "us-east-1a", lifecycle: str = "spot") -> Any:
    about = {"instance_type": "g5.xlarge", "zone": zone, "lifecycle": lifecycle, "observed_at": at, "stale": stale}
    return ledger.price(time=NOW - 99_999, usd_per_hour=usd, **about)


def test_where_ec2_refuses_the_last_known_price_holds_and_says_its_age() -> None:
    known = [
        sample(0.30, NOW - 3600),
        sample(0.35, NOW - 60),
        sample(0.99, NOW - 30, stale=True),
        sample(0.98, NOW - 20, zone="us-west-2a"),
        sample(0.97, NOW - 10, lifecycle="on-demand"),
    ]
    deaf = connected(RecordedEc2(MARKETS, [refused("UnauthorizedOperation", 403)]))
    found = spot_price_now("g5.xlarge", "us-east-1", ZONES, NOW, known, deaf)
    assert found
    assert found.usd_per_hour == (0.35, 0.35)
    assert found.said_by.startswith("last known, of 2023-11-14 22:12 UTC in us-east-1a; EC2: UnauthorizedOperation")


@pytest.mark.parametrize("markets", [{}, {("g5.xlarge", "us-east-1c"): MARKETS["g5.xlarge", "us-east-1c"]}])
def test_what_was_never_known_is_bounded_by_the_dated_table(markets: Any) -> None:
    found = spot_price_now("g5.xlarge", "us-east-1", ZONES, NOW, connect=connected(RecordedEc2(markets)))
    table = price_table()
    assert found
    assert found.usd_per_hour == (table.usd_per_hour["g5.xlarge"],) * 2
    assert found.said_by.startswith(f"at most: on-demand price of {table.as_of}; EC2")


def test_a_type_or_region_that_nobody_knows_has_no_price() -> None:
    assert spot_price_now("odd.large", "us-east-1", ZONES, NOW) is None
    assert spot_price_now("g5.xlarge", "eu-west-1", (), NOW) is None


def test_settings_that_make_no_client_are_told() -> None:
    def refuse(region: str | None) -> Any:
        raise PriceUnavailableError("The config profile (gone) could not be found")

    found = spot_price_now("g5.xlarge", "us-east-1", ZONES, NOW, connect=refuse)
    assert found
    assert "EC2: The config profile (gone)" in found.said_by


def test_a_network_that_swallows_everything_is_not_waited_for() -> None:
    over = threading.Event()

    def hang(region: str | None) -> Any:
        over.wait()
        raise PriceUnavailableError("at last")

    found = spot_price_now("g5.xlarge", "us-east-1", ZONES, NOW, connect=hang, patience_seconds=0.01)
    assert found
    assert found.said_by.endswith("EC2: no answer within 0.01 s")
    over.set()


class PriceList:
    """AWS's price list with one price, or none."""

    def __init__(self, *usd: str) -> None:
        dimension = {"unit": "Hrs", "pricePerUnit": {"USD": usd[0] if usd else "0"}}
        self.page = {"PriceList": [json.dumps({"terms": {"OnDemand": {"t": {"priceDimensions": {"d": dimension}}}}})]}

    def get_products(self, **request: Any) -> dict[str, Any]:
        return self.page


def test_the_price_of_a_head_is_that_of_the_price_list_else_of_the_dated_table() -> None:
    table = price_table()
    tabled = table.usd_per_hour["m6i.large"]

    def asked(*usd: str) -> Connect:
        return lambda region: (None, PriceList(*usd), str(region))

    for connect, region, usd, said_by in (
        (asked("0.12"), "us-east-1", 0.12, "AWS price list"),
        (asked("0.12"), "eu-west-1", 0.12, "AWS price list"),
        (asked(), "us-east-1", tabled, f"table of {table.as_of}"),
        (None, "us-east-1", tabled, f"on-demand price of {table.as_of}"),
    ):
        found = on_demand_price_now("m6i.large", region, connect)
        assert found
        assert found.usd_per_hour == (usd, usd)
        assert found.said_by.startswith(said_by)
    assert on_demand_price_now("m6i.large", "eu-west-1", asked()) is None
    assert on_demand_price_now("m6i.large", "eu-west-1") is None
