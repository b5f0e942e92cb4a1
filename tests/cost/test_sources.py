"""Where prices come from: recorded EC2 prices page by page, throttling, refusals, AWS's list and the dated table."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, NoCredentialsError, ReadTimeoutError
from botocore.stub import Stubber
from moto import mock_aws

from cost.instances import PriceTable, price_table
from cost.sources import OnDemandPrices, PriceUnavailableError, Quote, Retry, SpotHistory, connect

from .conftest import Change, RecordedEc2, refused

DAY = 24 * 3600.0
START = datetime(2015, 6, 1, tzinfo=UTC).timestamp()
Market = dict[tuple[str, str], list[Change]]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")


def test_recorded_prices_come_whole_and_in_order_through_many_pages(
    g2_prices: Market, recorded: Callable[..., RecordedEc2]
) -> None:
    ec2 = recorded()
    quotes = SpotHistory(ec2, page_size=100).quotes("g2.2xlarge", START, START + DAY)
    for (_, zone), changes in g2_prices.items():
        times = [time.timestamp() for time, _ in changes]
        first = max(time for time in times if time <= START)
        expected = [
            (time, float(usd)) for time, (_, usd) in zip(times, changes, strict=True) if first <= time <= START + DAY
        ]
        assert [(quote.time, quote.usd_per_hour) for quote in quotes if quote.zone == zone] == expected
    assert len(ec2.requests) == -(-len(quotes) // 100) > 1
    assert [quote.time for quote in quotes] == sorted(quote.time for quote in quotes)
    assert {(quote.lifecycle, quote.stale) for quote in quotes} == {("spot", False)}


def pauses_until(ec2: RecordedEc2, attempts: int) -> tuple[list[float], list[Quote] | str]:
    pauses: list[float] = []
    retry = Retry(attempts=attempts, first_seconds=1.0, cap_seconds=5.0, sleep=pauses.append)
    try:
        return pauses, SpotHistory(ec2, retry, page_size=1).quotes("t", 0.0, DAY)
    except PriceUnavailableError as error:
        return pauses, str(error)


MARKETS: Market = {("t", z): [(datetime(1970, 1, 1, tzinfo=UTC), "0.4")] for z in ("za", "zb")}
NO_NETWORK = EndpointConnectionError(endpoint_url="https://ec2")


@pytest.mark.parametrize(
    "failure",
    [
        refused("RequestLimitExceeded", 503),
        refused("Throttling"),
        refused("InternalError", 500),
        refused("Strange", 502),
        NO_NETWORK,
        ConnectTimeoutError(endpoint_url="https://ec2"),
        ReadTimeoutError(endpoint_url="https://ec2"),
    ],
)
def test_what_may_pass_is_asked_again_with_capped_pauses_on_any_page(failure: Exception) -> None:
    ec2 = RecordedEc2(MARKETS, [None, *[failure] * 4])
    pauses, quotes = pauses_until(ec2, attempts=5)
    assert pauses == [1.0, 2.0, 4.0, 5.0]
    assert len(quotes) == 2
    assert [request.get("NextToken") for request in ec2.requests] == [None, *["1"] * 5]


def test_after_the_last_attempt_the_reason_is_told() -> None:
    pauses, told = pauses_until(RecordedEc2(MARKETS, [refused("Throttling")] * 9), attempts=3)
    assert (pauses, told) == ([1.0, 2.0], "Throttling: as tested")
    assert "Could not connect" in str(pauses_until(RecordedEc2(MARKETS, [NO_NETWORK] * 9), attempts=2)[1])


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (refused("UnauthorizedOperation", 403), "UnauthorizedOperation: as tested"),
        (refused("AccessDenied", 403), "AccessDenied: as tested"),
        (refused("InvalidParameterValue"), "InvalidParameterValue: as tested"),
        (NoCredentialsError(), "Unable to locate credentials; set AWS_PROFILE or run `aws configure`"),
    ],
)
def test_a_refusal_is_not_asked_again(failure: Exception, told: str) -> None:
    assert pauses_until(RecordedEc2(MARKETS, [failure]), attempts=5) == ([], told)


def test_an_unknown_type_or_a_price_of_zero_is_no_price() -> None:
    for markets in ({}, {("t", "za"): [(datetime(1970, 1, 1, tzinfo=UTC), "0.000000")]}):
        assert pauses_until(RecordedEc2(markets), 1) == ([], "EC2 knows no spot price of t in this region")


def test_the_request_is_one_that_ec2_understands(aws: None) -> None:
    """moto answers one made-up price per zone; boto3 checks the request's shape."""
    with mock_aws():
        ec2, _, region = connect("eu-central-1")
        quotes = SpotHistory(ec2).quotes("g5.xlarge", START, START + DAY)
    assert region == "eu-central-1"
    assert {quote.zone for quote in quotes} >= {"eu-central-1a", "eu-central-1b"}
    assert {quote.usd_per_hour for quote in quotes} == {0.00001}


def product(*dollars: str, unit: str = "Hrs") -> str:
    dimensions = {str(i): {"unit": unit, "pricePerUnit": {"USD": usd}} for i, usd in enumerate(dollars)}
    return json.dumps({"terms": {"OnDemand": {"sku.term": {"priceDimensions": dimensions}}}})


def listed(aws_answers: list[Any], table: PriceTable | None = None) -> list[Quote]:
    """Quotes of g5.xlarge in us-east-2 from a price list that answers so, through boto3's own checks."""
    pricing = boto3.client("pricing", region_name="us-east-1")
    source = OnDemandPrices(pricing, "us-east-2", Retry(attempts=1), table)
    with Stubber(pricing) as stub:
        for answer in aws_answers:
            if isinstance(answer, str):
                stub.add_client_error("get_products", answer)
            else:
                stub.add_response("get_products", answer)
        return source.quotes("g5.xlarge", 0.0, DAY)


def test_the_price_list_is_read_through_its_pages_and_its_zeros(aws: None) -> None:
    pages = [
        {"PriceList": [product("0.0000000000"), product("12.5", unit="Quantity")], "NextToken": "more"},
        {"PriceList": [product("1.0060000000")]},
    ]
    assert listed(pages) == [Quote("g5.xlarge", None, "on-demand", 1.006, DAY, "AWS price list", stale=False)]


def test_the_list_is_asked_for_linux_in_the_region(aws: None) -> None:
    class Pricing:
        def get_products(self, **request: Any) -> dict[str, Any]:
            self.request = request
            return {"PriceList": [product("2")]}

    pricing = Pricing()
    OnDemandPrices(pricing, "eu-west-1").quotes("p3.2xlarge", 0.0, DAY)
    filters = {one["Field"]: one["Value"] for one in pricing.request["Filters"]}
    assert filters["regionCode"] == "eu-west-1"
    assert filters["instanceType"] == "p3.2xlarge"
    assert (filters["operatingSystem"], filters["tenancy"], filters["capacitystatus"]) == ("Linux", "Shared", "Used")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("AccessDeniedException", "AccessDeniedException"),
        ({"PriceList": []}, "AWS lists no price of g5.xlarge in us-east-2"),
        ({"PriceList": [product("0")]}, "AWS lists no price of g5.xlarge in us-east-2"),
        ({"PriceList": [product("1", "2")]}, "AWS lists 2 prices of g5.xlarge in us-east-2"),
    ],
)
def test_the_table_stands_in_with_its_date_but_only_for_its_region(aws: None, answer: Any, reason: str) -> None:
    table = PriceTable("us-east-2", "2025-05-01", {"g5.xlarge": 1.25})
    (quote,) = listed([answer], table)
    assert (quote.usd_per_hour, quote.stale) == (1.25, True)
    assert quote.source == f"table of 2025-05-01 for us-east-2, as the AWS price list failed ({reason})"
    for elsewhere in (PriceTable("us-east-1", "2025-05-01", {"g5.xlarge": 1.25}), PriceTable("us-east-2", "x", {})):
        with pytest.raises(PriceUnavailableError, match=reason):
            listed([answer], elsewhere)


def test_the_table_in_the_package_says_where_and_when_and_holds_prices() -> None:
    table = price_table()
    assert table.region == "us-east-1"
    assert datetime.fromisoformat(table.as_of)
    assert {"g5.xlarge", "p3.2xlarge", "g6.xlarge", "p4d.24xlarge", "t3.large"} <= table.usd_per_hour.keys()
    assert all(0 < usd < 200 for usd in table.usd_per_hour.values())


def test_settings_that_make_no_client_are_told_in_words(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PriceUnavailableError, match="not a region"):
        connect("not a region")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(PriceUnavailableError, match="nobody"):
        connect(None)
