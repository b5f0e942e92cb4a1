"""Which machines a sweep would rent, and what they cost: the first choice of a cluster file, and its head.

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
from cost.now import Connect, HourlyPrice, on_demand_price_now, spot_price_now
from cost.sources import connect
from paramalloc.config import CostConfig
from paramalloc.files import read_jsonl
from paramalloc.results import ResultsFolder

SHIPPED_FILE = Path(cluster.__file__).with_name("spot.yaml")
BOOTSTRAP_FILE = Path("~/ray_bootstrap_config.yaml")  # where `ray up` leaves the cluster file on the head


@dataclass(frozen=True)
class Machine:
    """A worker that the autoscaler would start first, and where; `file` is the cluster file that says so.

    `at_most`: how many of them at once; `head_type`: the instance type of the head beside them, None where that is
    rented on the spot market too.
    """

    instance_type: str
    region: str
    zones: tuple[str, ...]
    file: str
    at_most: int = 1
    head_type: str | None = None


@dataclass(frozen=True)
class Rental:
    """A machine and what an hour of it costs; `here`: trials run on such machines, away from a cluster they would.

    `head`: what an hour of their head costs, None where nobody knows.
    """

    machine: Machine
    price: HourlyPrice
    here: bool
    head: HourlyPrice | None = None


def on_cluster() -> bool:
    """Whether trials run on machines of a Ray cluster that is there already."""
    return bool(os.environ.get("RAY_ADDRESS"))


def rental(
    cost: CostConfig, own: Path, ask: Connect = connect, clock: Callable[[], float] = time.time
) -> Rental | None:
    """What a rented machine would cost; None where nobody knows, or the sweep file's price is the one that counts.

    Args:
        cost: with `prices: fixed` nothing is looked up.
        own: the sweep's results, for the last known price.
        ask: gives the EC2 and pricing clients; only used on a cluster.
    """
    here = on_cluster()
    machine = first_choice(BOOTSTRAP_FILE.expanduser() if here else SHIPPED_FILE)
    if machine is None or cost.prices == "fixed":
        return None
    known = read_jsonl(ResultsFolder(own).events)
    asked = ask if here else None
    price = spot_price_now(machine.instance_type, machine.region, machine.zones, clock(), known, asked)
    head = on_demand_price_now(machine.head_type, machine.region, asked) if machine.head_type else None
    return Rental(machine, price, here, head) if price else None


def first_choice(file: Path) -> Machine | None:
    """The spot worker of highest priority among those that are switched on."""
    try:
        config: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        provider, head = config["provider"], config["head_node_type"]
        kinds = config["available_node_types"]
        workers = [
            kind for name, kind in kinds.items() if name != head and kind.get("max_workers", 1) and _is_spot(kind)
        ]
        best = max(workers, key=lambda kind: kind.get("priority", 0))
        zones = [zone.strip() for zone in str(provider.get("availability_zone") or "").split(",")]
        return Machine(
            best["node_config"]["InstanceType"],
            provider["region"],
            tuple(filter(None, zones)),
            f"cluster/{file.name}",
            at_most=max(1, min(best.get("max_workers", config.get("max_workers", 1)), config.get("max_workers", 1))),
            head_type=None if _is_spot(kinds[head]) else kinds[head]["node_config"]["InstanceType"],
        )
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        return None


def _is_spot(kind: dict[str, Any]) -> bool:
    return "InstanceMarketOptions" in kind["node_config"]
