"""Checks cluster files and IAM policies before anything is started: `python -m cluster validate FILE...`

Always holds: offline and without an account; every problem names its dotted place, what is there and how to mend it.
Beyond Ray's schema and AWS's parameters it insists on what makes a cluster safe and cheap: tokens for the
metadata service, encrypted disks, a security group of one's own, an on-demand twin for every spot type.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cluster.aws_shape import check_shape, input_shape, regions
from cluster.errors import ClusterError
from cluster.policy import check_policy
from cluster.problems import Problem
from cluster.ray_schema import check_with_ray

# Keys that Ray takes out of node_config before it calls AWS.
RAYS_OWN_KEYS = ("SubnetIds",)
TYPES = "available_node_types"
PLACEHOLDER = "TORCH_INDEX_URL"  # stands in spot.yaml for an address that only V100 machines need


def validate_file(path: Path) -> list[Problem]:
    """What is wrong with a cluster file (.yaml) or a policy (.json). Errors: ClusterError if it cannot be read."""
    content = load(path)
    if path.suffix == ".json":
        return check_policy(content)
    return check_with_ray(content) or _check_cluster(content)


def load(path: Path) -> dict[str, Any]:
    """The content of a YAML or JSON file. Errors: ClusterError, with line and column where they are known."""
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except OSError as error:
        raise ClusterError(str(path), (error.strerror or "an error").lower(), "give a cluster file") from None
    except (ValueError, yaml.YAMLError) as error:
        raise ClusterError(str(path), " ".join(str(error).split()), "mend the file") from None
    if not isinstance(content, dict):
        raise ClusterError(str(path), type(content).__name__, "give a cluster file: keys and values")
    return content


def _check_cluster(config: dict[str, Any]) -> list[Problem]:
    if config["provider"]["type"] != "aws":
        return list(_check_commands(config))
    types = config.get(TYPES, {})
    machines = {f"{TYPES}.{name}.node_config": node_type["node_config"] for name, node_type in types.items()}
    if wrong := [problem for place, machine in machines.items() for problem in _check_parameters(machine, place)]:
        return wrong  # What follows takes the structure for granted.
    return [
        *_check_provider(config["provider"]),
        *(problem for place, machine in machines.items() for problem in _check_safety(machine, place)),
        *_check_markets(types, config["head_node_type"]),
        *_check_placeholders(types),
        *_check_commands(config),
    ]


def _check_provider(provider: dict[str, Any]) -> Iterator[Problem]:
    region, zones = str(provider.get("region")), str(provider.get("availability_zone") or "")
    if region not in regions():
        yield Problem("provider.region", f"{region!r} is no region", "allowed: " + ", ".join(regions()))
    for zone in (zone.strip() for zone in zones.split(",")):
        if zone and not zone.startswith(region):
            yield Problem("provider.availability_zone", f"{zone} is not in {region}", f"give zones such as {region}a")
    if provider.get("cache_stopped_nodes", True):
        place, got = "provider.cache_stopped_nodes", "stopped machines are kept, and their disks cost on"
        yield Problem(place, got, "set it to false")
    if not provider.get("security_group", {}).get("GroupName"):
        got = "none: Ray makes one that lets the whole world try SSH"
        yield Problem("provider.security_group.GroupName", got, "name the one that `cluster setup` makes")


def _check_parameters(machine: dict[str, Any], place: str) -> Iterator[Problem]:
    parameters = {key: value for key, value in machine.items() if key not in RAYS_OWN_KEYS}
    return check_shape(parameters, input_shape("ec2", "RunInstances"), place)


def _check_safety(machine: dict[str, Any], place: str) -> Iterator[Problem]:
    for key in ("InstanceType", "ImageId", "IamInstanceProfile"):
        if not machine.get(key):
            yield Problem(f"{place}.{key}", "nothing", "name it; Ray's default is older, or wider, than you want")
    if machine.get("MetadataOptions", {}).get("HttpTokens") != "required":
        got = "not 'required': any process could ask for the machine's role"
        yield Problem(f"{place}.MetadataOptions.HttpTokens", got, "set it to required")
    disks = machine.get("BlockDeviceMappings", [])
    if not disks:
        yield Problem(f"{place}.BlockDeviceMappings", "none, so an unencrypted disk", "give one with Encrypted: true")
    for number, disk in enumerate(disks):
        for key in ("Encrypted", "DeleteOnTermination"):
            if disk.get("Ebs", {}).get(key) is not True:
                yield Problem(f"{place}.BlockDeviceMappings[{number}].Ebs.{key}", "not true", "set it to true")
    tagged = {spec.get("ResourceType") for spec in machine.get("TagSpecifications", []) if spec.get("Tags")}
    for resource in sorted({"instance", "volume"} - tagged):
        yield Problem(f"{place}.TagSpecifications", f"no tag for the {resource}", "give one, to find its cost again")


def _check_markets(types: dict[str, Any], head: str) -> Iterator[Problem]:
    """Spot for workers only, each with a twin on demand that comes after it, and labels that tell the truth."""
    fallbacks: dict[str, int] = {}
    for name, node_type in types.items():
        if not _is_spot(node_type) and name != head:
            machine = str(node_type["node_config"].get("InstanceType"))
            fallbacks[machine] = max(fallbacks.get(machine, 0), node_type.get("priority", 0))
    for name, node_type in types.items():
        spot, place = _is_spot(node_type), f"{TYPES}.{name}"
        machine = str(node_type["node_config"].get("InstanceType"))
        market, label = ("spot" if spot else "on-demand"), node_type.get("labels", {}).get("ray.io/market-type")
        if label != market:
            yield Problem(f"{place}.labels.ray.io/market-type", f"{label!r} on a {market} machine", f"give {market}")
        if spot and name == head:
            yield Problem(f"{place}.node_config.InstanceMarketOptions", "a spot head", "rent the head on demand")
        elif spot and machine not in fallbacks:
            yield Problem(place, f"no on-demand type with {machine}", "add one at a lower priority")
        elif spot and fallbacks[machine] >= node_type.get("priority", 0):
            yield Problem(f"{place}.priority", "not above its on-demand twin's", "raise it, or lower the twin's")


def _is_spot(node_type: dict[str, Any]) -> bool:
    return bool(node_type["node_config"].get("InstanceMarketOptions", {}).get("MarketType") == "spot")


def _check_placeholders(types: dict[str, Any]) -> Iterator[Problem]:
    """A type that is switched on must not run a command that still has to be completed."""
    for name, node_type in types.items():
        for number, command in enumerate(node_type.get("worker_setup_commands") or []):
            if PLACEHOLDER in command and node_type.get("max_workers", 1) > 0:
                place, got = f"{TYPES}.{name}.worker_setup_commands[{number}]", f"{PLACEHOLDER} is no address yet"
                mend = "put in that of the CUDA 12.6 builds, from PyTorch's start page, or set max_workers to 0"
                yield Problem(place, got, mend)


def _check_commands(config: dict[str, Any]) -> Iterator[Problem]:
    if not config.get("setup_commands"):
        yield Problem(
            "setup_commands", "none, so Ray would install another version of itself", "run cluster/install.sh"
        )
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        commands = config.get(key) or []
        if not any("cluster agent" in command for command in commands):
            yield Problem(key, "no node agent: a spot notice would go unseen", "start `python -m cluster agent`")
        for number, command in enumerate(commands):
            if "--dashboard-host=0.0.0.0" in command or "--dashboard-host 0.0.0.0" in command:
                got = "a dashboard that listens on every interface"
                yield Problem(f"{key}[{number}]", got, "give --dashboard-host=127.0.0.1 and use `ray dashboard`")
