"""Where prices come from: EC2's spot price history, AWS's price list, and a dated table for when that is silent.

Always holds: whatever the network, permissions or AWS do, a source answers with quotes or raises
PriceUnavailableError in words; it never answers zero and never guesses. Clients, clock and sleep are arguments.
Use: `SpotHistory(boto3_ec2_client).quotes("g5.xlarge", since, until)`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from textwrap import shorten
from typing import Any, Protocol, TypeVar

from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, NoCredentialsError
from botocore.parsers import ResponseParserError

from cost.instances import PriceTable, price_table
from cost.prices import ON_DEMAND
from cost.rules import SPOT

PRICE_LIST_REGION = "us-east-1"  # one of the few that serve the price list, which covers all regions
_LINUX = "Linux/UNIX"
_LONG_MESSAGE = 200
_PASSING = frozenset(
    "RequestLimitExceeded RequestThrottled RequestThrottledException RequestTimeout Throttling ThrottlingException "
    "ThrottledException EC2ThrottledException TooManyRequestsException InternalError InternalFailure "
    "InternalErrorException ServiceUnavailable Unavailable".split()
)
Answer = TypeVar("Answer")


class PriceUnavailableError(Exception):
    """Nobody could say what something costs; the message says why."""


@dataclass(frozen=True)
class Quote:
    """An hour of `instance_type` costs `usd_per_hour` from `time` (Unix seconds) on.

    `zone`: None where it costs the same in the whole region; `lifecycle`: `spot` or `on-demand`; `source`: who
    says so; `stale`: nobody could be asked just now.
    """

    instance_type: str
    zone: str | None
    lifecycle: str
    usd_per_hour: float
    time: float
    source: str
    stale: bool = False


class PriceSource(Protocol):
    """Anything that knows prices of instance types."""

    def quotes(self, instance_type: str, since: float, until: float) -> list[Quote]:
        """The prices in force between two times (Unix seconds), at least one, oldest first.

        Errors: PriceUnavailableError.
        """
        ...


@dataclass(frozen=True)
class Retry:
    """Asks again after throttling, server errors and a broken connection, with pauses that double up to a cap."""

    attempts: int = 4
    first_seconds: float = 1.0
    cap_seconds: float = 20.0
    sleep: Callable[[float], None] = time.sleep

    def __call__(self, request: Callable[[], Answer]) -> Answer:
        """What `request` returns. Errors: PriceUnavailableError for refusals, and when all attempts failed."""
        for attempt in range(self.attempts):
            try:
                return request()
            except (ClientError, BotoCoreError, ResponseParserError) as error:
                if attempt + 1 == self.attempts or not _may_pass(error):
                    raise PriceUnavailableError(_words(error)) from error
            self.sleep(min(self.cap_seconds, self.first_seconds * 2**attempt))
        raise AssertionError("a retry needs at least one attempt")


def _may_pass(error: Exception) -> bool:
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return error.response.get("Error", {}).get("Code") in _PASSING or status >= 500
    return isinstance(error, ConnectionError | HTTPClientError)


def _words(error: Exception) -> str:
    """One short line, with advice where there is any; of a web page sent in place of an answer, only the code."""
    text = str(error) or type(error).__name__
    if isinstance(error, ClientError):
        said = error.response.get("Error", {})
        code, message = said.get("Code", "unknown error"), said.get("Message") or ""
        text = f"error {code}" if "<" in message else f"{code}: {message}".removesuffix(": ")
    return shorten(" ".join(text.split()), _LONG_MESSAGE, placeholder=" ...") + _advice(error)


def _advice(error: Exception) -> str:
    if isinstance(error, NoCredentialsError):
        return "; set AWS_PROFILE or run `aws configure`"
    if isinstance(error, ConnectionError | HTTPClientError):
        return "; no way to AWS from here: check the network or AWS_ENDPOINT_URL"
    return ""


class SpotHistory:
    """What EC2 says spot instances cost, per instance type and zone of the client's region, for Linux.

    Args:
        ec2: a boto3 EC2 client.
        retry: how often to ask.
        page_size: prices per request.
    """

    def __init__(self, ec2: Any, retry: Retry | None = None, page_size: int = 1000) -> None:
        self._ec2, self._retry, self._page_size = ec2, retry or Retry(), page_size

    def quotes(self, instance_type: str, since: float, until: float) -> list[Quote]:
        """Every change of price in the time span, and the one in force at its start, of each zone.

        Errors: PriceUnavailableError.
        """
        found = [
            Quote(
                instance_type=instance_type,
                zone=price["AvailabilityZone"],
                lifecycle=SPOT,
                usd_per_hour=float(price["SpotPrice"]),
                time=price["Timestamp"].timestamp(),
                source="EC2 spot price history",
            )
            for page in self._pages(instance_type, since, until)
            for price in page["SpotPriceHistory"]
            if float(price["SpotPrice"]) > 0
        ]
        if not found:
            raise PriceUnavailableError(f"EC2 knows no spot price of {instance_type} in this region")
        return sorted(found, key=lambda quote: (quote.time, quote.zone or ""))

    def _pages(self, instance_type: str, since: float, until: float) -> Iterator[dict[str, Any]]:
        ask = {
            "InstanceTypes": [instance_type],
            "ProductDescriptions": [_LINUX],
            "StartTime": datetime.fromtimestamp(since, UTC),
            "EndTime": datetime.fromtimestamp(until, UTC),
            "MaxResults": self._page_size,
        }
        return _pages(lambda **token: self._ec2.describe_spot_price_history(**ask, **token), self._retry)


class OnDemandPrices:
    """What an instance type costs on demand: AWS's price list, or else the dated table in this package.

    Args:
        pricing: a boto3 `pricing` client of PRICE_LIST_REGION.
        region: whose prices.
        retry: how often to ask.
        table: prices for when the list is silent; a price of it is stale, and says its date and region.
    """

    def __init__(
        self, pricing: Any, region: str, retry: Retry | None = None, table: PriceTable | None = None
    ) -> None:
        self._pricing, self._region, self._retry = pricing, region, retry or Retry()
        self._table = price_table() if table is None else table

    def quotes(self, instance_type: str, since: float, until: float) -> list[Quote]:
        """One quote, as of `until`. Errors: PriceUnavailableError where the table has none for this region either."""
        try:
            usd, source, stale = self._listed(instance_type), "AWS price list", False
        except PriceUnavailableError as error:
            tabled = self._table.usd_per_hour.get(instance_type) if self._table.region == self._region else None
            if tabled is None:
                raise
            usd, stale = tabled, True
            source = f"table of {self._table.as_of} for {self._table.region}, as the AWS price list failed ({error})"
        return [Quote(instance_type, None, ON_DEMAND, usd, until, source, stale)]

    def _listed(self, instance_type: str) -> float:
        wanted = {
            "instanceType": instance_type,
            "regionCode": self._region,
            "operatingSystem": "Linux",
            "tenancy": "Shared",
            "preInstalledSw": "NA",
            "capacitystatus": "Used",
        }
        filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
        ask = {"ServiceCode": "AmazonEC2", "Filters": filters, "FormatVersion": "aws_v1"}
        pages = _pages(lambda **token: self._pricing.get_products(**ask, **token), self._retry)
        prices = {usd for page in pages for product in page["PriceList"] for usd in _hourly(json.loads(product))}
        if len(prices) != 1:
            found = f"{len(prices)} prices" if prices else "no price"
            raise PriceUnavailableError(f"AWS lists {found} of {instance_type} in {self._region}")
        return prices.pop()


def connect(region: str | None) -> tuple[Any, Any, str]:
    """boto3's EC2 and pricing clients, and the region: the one asked for, that of AWS's settings, or us-east-1.

    They give up early and leave asking again to `Retry`; AWS_ENDPOINT_URL is honoured.
    Errors: PriceUnavailableError for settings that make no client.
    """
    import boto3
    from botocore.config import Config

    patience = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 1})
    try:
        session = boto3.Session()
        region = region or session.region_name or PRICE_LIST_REGION
        ec2 = session.client("ec2", region_name=region, config=patience)
        return ec2, session.client("pricing", region_name=PRICE_LIST_REGION, config=patience), region
    except (BotoCoreError, ValueError) as error:
        raise PriceUnavailableError(_words(error)) from error


def _pages(request: Callable[..., dict[str, Any]], retry: Retry) -> Iterator[dict[str, Any]]:
    """The pages of an answer, each asked for until it is there."""
    token: dict[str, str] = {}
    while True:
        page = retry(lambda: request(**token))  # noqa: B023, called at once
        yield page
        if not page.get("NextToken"):
            return
        token = {"NextToken": page["NextToken"]}


def _hourly(product: dict[str, Any]) -> Iterator[float]:
    """The dollars per hour that a product of the price list names; zeros stand for something else than a price."""
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            usd = float(dimension["pricePerUnit"].get("USD", "nan"))
            if dimension["unit"] == "Hrs" and math.isfinite(usd) and usd > 0:
                yield usd
