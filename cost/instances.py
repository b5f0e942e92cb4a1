"""What instance types can do, and what that costs: the dated table in this package, or one's own measurements.

Always holds: what the table does not know is absent, never guessed; its dates and sources come with its numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cost.errors import CostError

TABLE = Path(__file__).with_name("instances.json")


@dataclass(frozen=True)
class PriceTable:
    """On-demand prices of one region as they were on one day."""

    region: str
    as_of: str
    usd_per_hour: Mapping[str, float]


@dataclass(frozen=True)
class Throughput:
    """How much one hour of each instance type yields, in units such as a million tokens."""

    unit: str
    per_hour: Mapping[str, float]
    source: str


def price_table() -> PriceTable:
    table = json.loads(TABLE.read_text(encoding="utf-8"))["on_demand"]
    return PriceTable(table["region"], table["as_of"], table["usd_per_hour"])


def peak_throughput() -> Throughput:
    """PFLOP/s-hours: what the makers of the GPUs promise, for want of measurements."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))["throughput"]
    peak = table["peak_tflops_by_gpu"]
    per_hour = {name: count * peak[gpu] / 1000 for name, (gpu, count) in table["gpus"].items()}
    return Throughput("peak PFLOP/s-hour", per_hour, table["source"])


def measured_throughput(path: Path) -> Throughput:
    """From a JSON file of tokens per second by instance type. Errors: CostError if it is none."""
    try:
        speeds = {str(name): float(speed) for name, speed in json.loads(path.read_text(encoding="utf-8")).items()}
        if not all(0 < speed < float("inf") for speed in speeds.values()):
            raise ValueError("speeds have to be above zero")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        allowed = 'a JSON object such as {"g5.xlarge": 41000}, in tokens per second'
        raise CostError(str(path), str(error), allowed) from None
    return Throughput("1M tokens", {name: speed * 3600 / 1e6 for name, speed in speeds.items()}, str(path))
