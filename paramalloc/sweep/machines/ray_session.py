"""Ray for one session: started on this machine, or found where `RAY_ADDRESS` says.

Always holds: on one machine nothing listens beyond loopback; a Ray that is already up is used and left alone; an
address where nobody answers is refused within seconds.

    with RaySession(verbose) as ray_session:    # starts Ray in a thread of its own
        ...                                     # what takes as long: loading torch, preparing text
        cluster = ray_session.cluster()         # waits for it
"""

from __future__ import annotations

import logging
import os
import re
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import ray
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

    @property
    def has_gpus(self) -> bool:
        """Now, or as soon as something needs one."""
        return bool(self.gpus or self.brings_gpus)


class RaySession:
    """A local Ray on loopback, or the cluster of `RAY_ADDRESS`; a Ray that is already up is used and left alone.

    The thread that has started Ray's processes stays until the end: the system ends them with it.

    Errors: UserError from the start for a cluster that does not answer, and from `cluster` when a local Ray does not
    come up.
    """

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose
        self._ours = True
        self._error: UserError | None = None
        self._over = threading.Event()
        self._there = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="ray", daemon=True)

    def __enter__(self) -> RaySession:
        os.environ.update({key: value for key, value in _QUIET.items() if key not in os.environ})
        if ray.is_initialized() or is_cluster():
            self._ours = not ray.is_initialized()
            if self._ours:
                _connect(os.environ["RAY_ADDRESS"], self.verbose)
            self._there.set()
        else:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.let_go()
        if self._thread.is_alive():
            self._thread.join()
        elif self._ours:
            ray.shutdown()

    def cluster(self) -> Cluster:
        """What Ray offers, as soon as it is there."""
        self._there.wait()
        if self._error:
            raise self._error
        # Tune logs each lost worker with a stack of its own; the recorder says it in one line.
        logging.getLogger("ray.tune").setLevel(logging.INFO if self.verbose else logging.CRITICAL)
        return _describe_cluster()

    def let_go(self) -> None:
        """Nobody needs Ray any more; one that was started here begins to end."""
        self._over.set()

    def _keep(self) -> None:
        try:
            _start(self.verbose)
        except UserError as error:
            self._error = error
        finally:
            self._there.set()
        self._over.wait()
        ray.shutdown()


def is_cluster() -> bool:
    """Whether trials run on machines that were set up for it, and may come and go."""
    return bool(os.environ.get("RAY_ADDRESS"))


def require_room(resources: ResourcesConfig) -> None:
    """Errors: UserError when a trial asks for more than this machine has; on a cluster it waits for a machine."""
    if is_cluster():
        return
    gpus = 0.0 if resources.gpus_per_trial == "auto" else resources.gpus_per_trial
    for name, wanted, there in (
        ("cpus", resources.cpus_per_trial, os.cpu_count() or 1),
        ("gpus", gpus, _gpus_here() if gpus else 0),
    ):
        if wanted > there:
            raise UserError(f"resources.{name}_per_trial", f"{wanted:g}", f"allowed on this machine: at most {there}")


def _gpus_here() -> int:
    import torch  # takes seconds to load, and is rarely needed here

    return torch.cuda.device_count()


def _start(verbose: bool) -> None:
    # Ray turns 127.0.0.1 into the machine's outward address, and then listens on all of them, unless it
    # believes that this platform has no clusters; there is no public switch for it (Ray 2.60).
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        ray.init("local", include_dashboard=True, dashboard_host="127.0.0.1", **_logging(verbose))
    except Exception as error:  # Ray raises just this where a part of it does not come up in time
        raise UserError("Ray", f"no start on this machine ({error})", "try again with -v") from error


def _connect(address: str, verbose: bool) -> None:
    try:
        _require_listener(address)
        ray.init(address=address, **_logging(verbose))
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            "RAY_ADDRESS", f"'{address}', where no Ray answers ({error})", "start it, or unset RAY_ADDRESS"
        ) from error


def _logging(verbose: bool) -> dict[str, Any]:
    return {"log_to_driver": verbose, "logging_level": logging.INFO if verbose else logging.ERROR}


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
