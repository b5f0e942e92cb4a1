"""Which machine a sweep would rent, and what that costs: the first choice of a cluster file, for the plan's estimate.

Always holds: away from a cluster nobody is asked over a network; a cluster file that cannot be read, or that rents
nothing from EC2, gives no machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import cluster
from cost.now import Connect, HourlyPrice, spot_price_now
from cost.sources import connect
from paramalloc.config import CostConfig
from paramalloc.files import read_jsonl
from paramalloc.results import ResultsFolder

SHIPPED_FILE = Path(cluster.__file__).with_name("spot.yaml")
BOOTSTRAP_FILE = Path("~/ray_bootstrap_config.yaml")  # where `ray up` leaves the cluster file on the head


@dataclass(frozen=True)
class Machine:
    """A worker that the autoscaler would start first, and where; `file` is the cluster file that says so."""

    instance_type: str
    region: str
    zones: tuple[str, ...]
    file: str


@dataclass(frozen=True)
class Rental:
    """A machine and what an hour of it costs; `here`: trials run on such machines, away from a cluster they would."""

    machine: Machine
    price: HourlyPrice
    here: bool


def rental(
    cost: CostConfig, own: Path, ask: Connect = connect, clock: Callable[[], float] = time.time
) -> Rental | None:
    """What a rented machine would cost; None where nobody knows, or the sweep file's price is the one that counts.

    Args:
        cost: with `prices: fixed` nothing is looked up.
        own: the sweep's results, for the last known price.
        ask: gives the EC2 client; only used on a cluster.
    """
    on_cluster = bool(os.environ.get("RAY_ADDRESS"))
    machine = first_choice(BOOTSTRAP_FILE.expanduser() if on_cluster else SHIPPED_FILE)
    if machine is None or cost.prices == "fixed":
        return None
    known = read_jsonl(ResultsFolder(own).events)
    asked = ask if on_cluster else None
    price = spot_price_now(machine.instance_type, machine.region, machine.zones, clock(), known, asked)
    return Rental(machine, price, on_cluster) if price else None


def first_choice(file: Path) -> Machine | None:
    """The spot worker of highest priority among those that are switched on."""
    try:
        config: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        provider, head = config["provider"], config["head_node_type"]
        workers = [
            kind
            for name, kind in config["available_node_types"].items()
            if name != head and kind.get("max_workers", 1) and "InstanceMarketOptions" in kind["node_config"]
        ]
        best = max(workers, key=lambda kind: kind.get("priority", 0))
        zones = [zone.strip() for zone in str(provider.get("availability_zone") or "").split(",")]
        instance_type = best["node_config"]["InstanceType"]
        return Machine(instance_type, provider["region"], tuple(filter(None, zones)), f"cluster/{file.name}")
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        return None
