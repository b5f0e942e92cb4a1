"""The end of a whole cluster, called on its head when its work is done: first the workers, at last the head itself.

Always holds: nothing but instances of this cluster's tag is terminated, as `iam/head.json` allows no other; away
from the head of a cluster that `ray up` started it refuses before anything is done.

    own = own_cluster()              # before the work: is this a head at all?
    tear_down(own)                   # after it; the call is the last thing that this machine does
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.aws import (
    CLUSTER_TAG,
    HEAD_KIND,
    KIND_TAG,
    Clients,
    clients,
    living_instances,
    refusals_in_words,
    tags_of,
)
from cluster.errors import ClusterError
from cluster.imds import MetadataClient, MetadataError

CLUSTER_FILE = Path("~/ray_bootstrap_config.yaml")  # where `ray up` leaves it on the head
LOOK_SECONDS = 5.0
# Without a worker, before the head goes: what the autoscaler decided in its last turn (it takes one every 5 s) before
# the sweep's demand was gone may be a request for a machine on its way through the zones.
QUIET_SECONDS = 20.0
LONGEST_SECONDS = 300.0  # that this may take in all


@dataclass(frozen=True)
class OwnCluster:
    """The cluster whose head this machine is."""

    name: str
    region: str
    head: str  # instance id


def own_cluster(file: Path = CLUSTER_FILE, metadata: MetadataClient | None = None) -> OwnCluster:
    """The cluster of which this machine is the head, as `ray up` and EC2 say. Errors: ClusterError elsewhere."""
    allowed = "only on the head of a cluster that `ray up` started on AWS"
    try:
        config = yaml.safe_load(file.expanduser().read_text(encoding="utf-8"))
        name, provider = config["cluster_name"], config["provider"]
        if provider["type"] != "aws":
            raise ClusterError("this machine", f"a cluster of provider {provider['type']}", allowed)
        region, types = provider["region"], config["available_node_types"]
        kept = [kind for kind, settings in types.items() if settings.get("min_workers", 0) > 0]
    except (OSError, yaml.YAMLError, KeyError, TypeError, AttributeError):
        raise ClusterError("this machine", f"no usable {file}", allowed) from None
    if kept:
        got = f"min_workers above 0 of {', '.join(kept)}: the autoscaler would replace what is ended"
        raise ClusterError(
            "this cluster", got, "set it to 0 in the cluster file and `ray up` again, or use `ray down`"
        )
    service = metadata or MetadataClient.from_environment()
    try:
        head = service.record().instance_id if service else None
    except MetadataError as error:
        raise ClusterError("this machine", f"no metadata service ({error})", allowed) from None
    if head is None:
        raise ClusterError("this machine", "no instance id", allowed)
    return OwnCluster(name, region, head)


def tear_down(
    own: OwnCluster,
    say: Callable[[str], None],
    connect: Callable[[str], Clients] = clients,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Terminate the workers, wait until none comes any more, then terminate the head. Errors: ClusterError."""
    with refusals_in_words():
        ec2 = connect(own.region)("ec2")
        _require_head(ec2, own)
        _end_workers(ec2, own, say, sleep)
        say("terminating the head")
        ec2.terminate_instances(InstanceIds=[own.head])


def _end_workers(ec2: Any, own: OwnCluster, say: Callable[[str], None], sleep: Callable[[float], None]) -> None:
    """Terminate workers until none has come for a while; one that came later would have no head to send it home."""
    quiet_seconds, last = 0.0, ""
    for _ in range(int(LONGEST_SECONDS / LOOK_SECONDS)):
        if workers := _workers(ec2, own):
            say(f"terminating {len(workers)} worker{'' if len(workers) == 1 else 's'}")
            ec2.terminate_instances(InstanceIds=workers)
            quiet_seconds, last = 0.0, ", ".join(workers)
        elif quiet_seconds >= QUIET_SECONDS:
            return
        sleep(LOOK_SECONDS)
        quiet_seconds += LOOK_SECONDS
    raise ClusterError("workers", f"new ones for {LONGEST_SECONDS:.0f} s, the last {last}", "ray down")


def _require_head(ec2: Any, own: OwnCluster) -> None:
    machines = {machine["InstanceId"]: tags_of(machine) for machine in living_instances(ec2, {CLUSTER_TAG: own.name})}
    if machines.get(own.head, {}).get(KIND_TAG) != HEAD_KIND:
        raise ClusterError("this machine", f"{own.head}, which is not the head of {own.name}", "run it on the head")


def _workers(ec2: Any, own: OwnCluster) -> list[str]:
    machines = living_instances(ec2, {CLUSTER_TAG: own.name})
    return [machine["InstanceId"] for machine in machines if machine["InstanceId"] != own.head]
