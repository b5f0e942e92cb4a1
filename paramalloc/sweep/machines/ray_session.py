"""Ray for one session: started on this machine, or found where `RAY_ADDRESS` says.

Always holds: on one machine nothing listens beyond loopback; a Ray that is already up is used and left alone; an
address where nobody answers is refused within seconds.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
import yaml
from ray._private import ray_constants

from paramalloc.config import ResourcesConfig
from paramalloc.errors import UserError
from paramalloc.rental import BOOTSTRAP_FILE

ANSWER_SECONDS = 5.0
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
}


@dataclass(frozen=True)
class Cluster:
    """What Ray offers: totals over all nodes, and the dashboard's address (None when there is none).

    `brings_gpus`: there is no GPU yet, but the autoscaler may start machines that have one.
    """

    cpus: float
    gpus: float
    nodes: int
    dashboard: str | None
    brings_gpus: bool = False

    def gpus_per_trial(self, resources: ResourcesConfig) -> float:
        if resources.gpus_per_trial != "auto":
            return resources.gpus_per_trial
        return 1.0 if self.gpus or self.brings_gpus else 0.0


@contextmanager
def ray_session(verbose: bool) -> Iterator[Cluster]:
    """A local Ray on loopback, or the cluster of `RAY_ADDRESS`; a Ray that is already up is used and left alone.

    Errors: UserError when it does not start, or does not answer.
    """
    os.environ.update({key: value for key, value in _QUIET.items() if key not in os.environ})
    ours = not ray.is_initialized()
    if ours:
        _init(verbose)
    # Tune logs each lost worker with a stack of its own; the recorder says it in one line.
    logging.getLogger("ray.tune").setLevel(logging.INFO if verbose else logging.CRITICAL)
    try:
        yield _describe_cluster()
    finally:
        if ours:
            ray.shutdown()


def is_cluster() -> bool:
    """Whether trials run on machines that were set up for it, and may come and go."""
    return bool(os.environ.get("RAY_ADDRESS"))


def require_room(resources: ResourcesConfig) -> None:
    """Errors: UserError when a trial asks for more than this machine has; on a cluster it waits for a machine."""
    if is_cluster():
        return
    gpus = 0.0 if resources.gpus_per_trial == "auto" else resources.gpus_per_trial
    there = {"cpus": os.cpu_count() or 1, "gpus": torch.cuda.device_count()}
    for name, wanted in (("cpus", resources.cpus_per_trial), ("gpus", gpus)):
        if wanted > there[name]:
            raise UserError(
                f"resources.{name}_per_trial", f"{wanted:g}", f"allowed on this machine: at most {there[name]}"
            )


def _init(verbose: bool) -> None:
    common: dict[str, Any] = {
        "log_to_driver": verbose,
        "logging_level": logging.INFO if verbose else logging.ERROR,
    }
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        # Ray turns 127.0.0.1 into the machine's outward address, and then listens on all of them, unless it
        # believes that this platform has no clusters; there is no public switch for it (Ray 2.60).
        ray_constants.ENABLE_RAY_CLUSTER = False
        try:
            ray.init("local", include_dashboard=True, dashboard_host="127.0.0.1", **common)
        except Exception as error:  # Ray raises just this where a part of it does not come up in time
            raise UserError("Ray", f"no start on this machine ({error})", "try again with -v") from error
        return
    try:
        _require_listener(address)
        ray.init(address=address, **common)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            "RAY_ADDRESS", f"'{address}', where no Ray answers ({error})", "start it, or unset RAY_ADDRESS"
        ) from error


def _require_listener(address: str) -> None:
    """Ray itself would try for more than a minute. Errors: OSError when nothing listens at `host:port`."""
    found = re.fullmatch(r"(?:ray://)?\[?(?P<host>[^/]+?)\]?:(?P<port>\d+)", address)
    if found:
        socket.create_connection((found["host"], int(found["port"])), timeout=ANSWER_SECONDS).close()


def _describe_cluster() -> Cluster:
    resources = ray.cluster_resources()
    alive = [node for node in ray.nodes() if node["Alive"]]
    dashboard = ray._private.worker.get_dashboard_url()
    brings_gpus = is_cluster() and autoscaler_brings_gpus(BOOTSTRAP_FILE.expanduser())
    return Cluster(resources.get("CPU", 0), resources.get("GPU", 0), len(alive), dashboard, brings_gpus)


def autoscaler_brings_gpus(cluster_file: Path) -> bool:
    """Whether a cluster file has machines with a GPU to start, which Ray 2.60 does not tell; a missing one: no."""
    try:
        types = yaml.safe_load(cluster_file.read_text())["available_node_types"]
        return any(kind["resources"].get("GPU") and kind.get("max_workers", 1) for kind in types.values())
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        return False
