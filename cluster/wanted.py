"""What a cluster file wants from an account, as plain values: the questions of `doctor`, the work of `setup`.

Always holds: made from a file that passed `validate_file`, so its structure is taken for granted; types that are
switched off (`max_workers: 0`) are not wanted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from cluster.errors import ClusterError


@dataclass(frozen=True)
class MachineType:
    """One node type: at most `most` machines of `instance_type`, rented as spot or on demand."""

    name: str
    instance_type: str
    image: str
    profile: str
    spot: bool
    most: int
    root_device: str
    root_gib: int


@dataclass(frozen=True)
class Wanted:
    """All of a cluster file that an account has to provide. `key_name` None: Ray makes a key pair itself."""

    cluster: str
    region: str
    zones: tuple[str, ...]
    group: str
    key_name: str | None
    private_key: str | None
    head: str
    most_workers: int  # of all types together
    types: tuple[MachineType, ...]

    @property
    def workers(self) -> tuple[MachineType, ...]:
        return tuple(kind for kind in self.types if kind.name != self.head)


@dataclass(frozen=True)
class Storage:
    """`s3://bucket/prefix`, where results go."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, address: str) -> Storage:
        """Errors: ClusterError for anything but a bucket and a prefix."""
        match = re.fullmatch(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/([\w!.*'()/-]*\w)/?", address)
        if not match:
            raise ClusterError("--storage", repr(address), "give s3://bucket/prefix")
        return cls(match[1], match[2])


def wanted_by(config: dict[str, Any]) -> Wanted:
    """What a valid cluster file wants. Errors: ClusterError if it does not rent machines at AWS."""
    provider = config["provider"]
    if provider["type"] != "aws":
        raise ClusterError("provider.type", repr(provider["type"]), "give a cluster file for aws")
    head, kinds = config["head_node_type"], config["available_node_types"]
    zones = str(provider.get("availability_zone") or "").split(",")
    return Wanted(
        cluster=config["cluster_name"],
        region=provider["region"],
        zones=tuple(zone.strip() for zone in zones if zone.strip()),
        group=provider["security_group"]["GroupName"],
        key_name=kinds[head]["node_config"].get("KeyName"),
        private_key=config.get("auth", {}).get("ssh_private_key"),
        head=head,
        most_workers=config.get("max_workers", 2),
        types=tuple(
            _machine_type(name, kind, 1 if name == head else kind.get("max_workers", config.get("max_workers", 2)))
            for name, kind in kinds.items()
            if name == head or kind.get("max_workers", 1) > 0
        ),
    )


def _machine_type(name: str, kind: dict[str, Any], most: int) -> MachineType:
    machine, root = kind["node_config"], kind["node_config"]["BlockDeviceMappings"][0]
    return MachineType(
        name=name,
        instance_type=machine["InstanceType"],
        image=machine["ImageId"],
        profile=machine["IamInstanceProfile"].get("Name") or machine["IamInstanceProfile"]["Arn"].rpartition("/")[2],
        spot=machine.get("InstanceMarketOptions", {}).get("MarketType") == "spot",
        most=most,
        root_device=root.get("DeviceName", ""),
        root_gib=root["Ebs"].get("VolumeSize", 0),
    )
