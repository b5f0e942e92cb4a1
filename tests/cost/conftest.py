"""Recorded spot prices behind the interface of a boto3 EC2 client."""

from __future__ import annotations

import bisect
import csv
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

Change = tuple[datetime, str]  # time, dollars per hour as text


class RecordedEc2:
    """Answers describe_spot_price_history as EC2 does: newest first, the price in force at the start included.

    Args:
        markets: price changes by (instance type, zone), oldest first.
        failures: what the next requests raise; None lets one through.
    """

    def __init__(
        self, markets: dict[tuple[str, str], list[Change]], failures: Iterable[Exception | None] = ()
    ) -> None:
        self.markets, self.failures = markets, list(failures)
        self.requests: list[dict[str, Any]] = []

    def describe_spot_price_history(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        failure = self.failures.pop(0) if self.failures else None
        if failure:
            raise failure
        assert request["ProductDescriptions"] == ["Linux/UNIX"]
        found = [
            {
                "InstanceType": kind,
                "ProductDescription": "Linux/UNIX",
                "AvailabilityZone": zone,
                "Timestamp": time,
                "SpotPrice": usd,
            }
            for (kind, zone), changes in self.markets.items()
            if kind in request["InstanceTypes"]
            for time, usd in self._in_force(changes, request["StartTime"], request["EndTime"])
        ]
        found.sort(key=lambda price: price["Timestamp"], reverse=True)
        first = int(request.get("NextToken", 0))
        last = first + request["MaxResults"]
        return {"SpotPriceHistory": found[first:last], "NextToken": str(last) if last < len(found) else ""}

    @staticmethod
    def _in_force(changes: list[Change], start: datetime, end: datetime) -> list[Change]:
        times = [time for time, _ in changes]
        return changes[max(0, bisect.bisect_right(times, start) - 1) : bisect.bisect_right(times, end)]


def refused(code: str, status: int = 400, operation: str = "DescribeSpotPriceHistory") -> ClientError:
    """The exception of a boto3 client whose request AWS turned down."""
    answer = {"Error": {"Code": code, "Message": "as tested"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, operation)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def g2_prices(shared_data: Path) -> dict[tuple[str, str], list[Change]]:
    """All price changes of g2.2xlarge in three zones of us-east-1, from March to August 2015."""
    markets: dict[tuple[str, str], list[Change]] = {}
    for path in sorted((shared_data / "spot" / "aws-g2.2xlarge-2015").glob("*.csv")):
        with path.open() as stream:
            rows = list(csv.DictReader(stream))
        changes = [(datetime.fromisoformat(row["timestamp"]).astimezone(UTC), row["spot_price_usd"]) for row in rows]
        markets["g2.2xlarge", path.name.split("_")[0]] = changes
    return markets


@pytest.fixture(scope="session")
def recorded(g2_prices: dict[tuple[str, str], list[Change]]) -> Callable[..., RecordedEc2]:
    """Makes a client that answers the recorded prices."""
    return lambda *failures: RecordedEc2(g2_prices, failures)
