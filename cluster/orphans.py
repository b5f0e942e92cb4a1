"""`python -m cluster orphans FILE`: machines and disks with our tag that still cost money, and how to end them.

Always holds: nothing is ended or changed; a region that cannot be asked is an error, never "nothing there".
Exit code 0: nothing is left, 1: something is.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.aws import (
    CLUSTER_TAG,
    KIND_TAG,
    PROJECT_TAG,
    Clients,
    clients,
    living_instances,
    refusals_in_words,
    tags_of,
)
from cluster.doctor import read_wanted


@dataclass(frozen=True)
class Orphan:
    """A thing that still costs: an instance, or a disk (`vol-...`) that belongs to none."""

    region: str
    id: str
    about: str


def run(file: Path, regions: Sequence[str], connect: Callable[[str], Clients] = clients) -> int:
    """Look into `regions`, or the one of the cluster file. Errors: ClusterError for the file, or from AWS."""
    found: list[Orphan] = []
    for region in dict.fromkeys(regions or [read_wanted(file).region]):
        with refusals_in_words():
            here = list(find(connect(region)("ec2"), region))
        sys.stdout.write("".join(f"{region}  {orphan.id}  {orphan.about}\n" for orphan in here))
        sys.stdout.write("" if here else f"{region}  nothing of ours\n")
        found += here
    if found:
        sys.stdout.write(f"\nall of a cluster that is known here:  ray down -y {shlex.quote(str(file))}\n")
        sys.stdout.write("".join(f"{command}\n" for command in commands(found)))
    return 1 if found else 0


def find(ec2: Any, region: str) -> Iterator[Orphan]:
    """What is there in the region of the client `ec2`."""
    tag = {PROJECT_TAG["Key"]: PROJECT_TAG["Value"]}
    for instance in living_instances(ec2, tag):
        tags, market = tags_of(instance), instance.get("InstanceLifecycle", "on-demand")
        whose = f"{tags.get(KIND_TAG, 'machine')} of cluster {tags.get(CLUSTER_TAG, 'unknown')}"
        state, since = instance["State"]["Name"], instance["LaunchTime"]
        about = f"{market} {instance['InstanceType']}, {whose}, {state}, launched {since:%Y-%m-%d %H:%M} UTC"
        yield Orphan(region, instance["InstanceId"], about)
    query = [
        {"Name": f"tag:{PROJECT_TAG['Key']}", "Values": [PROJECT_TAG["Value"]]},
        {"Name": "status", "Values": ["available"]},
    ]
    for page in ec2.get_paginator("describe_volumes").paginate(Filters=query):
        for volume in page["Volumes"]:
            yield Orphan(region, volume["VolumeId"], f"disk of {volume['Size']} GB that belongs to no machine")


def commands(orphans: Sequence[Orphan]) -> Iterator[str]:
    """What ends them, for a shell."""
    for region in dict.fromkeys(orphan.region for orphan in orphans):
        here = [orphan.id for orphan in orphans if orphan.region == region]
        if machines := [name for name in here if name.startswith("i-")]:
            yield f"aws ec2 terminate-instances --region {region} --instance-ids {' '.join(machines)}"
        for name in here:
            if name.startswith("vol-"):
                yield f"aws ec2 delete-volume --region {region} --volume-id {name}"
