"""Questions to an AWS account, one function per subject: is there what the cluster file wants?

Always holds: boto3 clients come from outside and are only asked, but for one small object that is written to the
bucket and removed again; no secret is in any answer; a question that may not be asked is `unknown`, not a problem.
Each function yields `Finding`s; `doctor.py` runs and prints them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from cluster.aws import Clients
from cluster.wanted import MachineType, Storage, Wanted

SSM_PREFIX = "resolve:ssm:"
SPOT_ROLE = "AWSServiceRoleForEC2Spot"


@dataclass(frozen=True)
class Finding:
    """One line of the report; `mend` says what to do about a problem."""

    state: Literal["ok", "problem", "unknown"]
    subject: str
    got: str
    mend: str = ""


def check_region(aws: Clients, wanted: Wanted) -> Iterator[Finding]:
    known = {region["RegionName"]: region["OptInStatus"] for region in aws("ec2").describe_regions()["Regions"]}
    if known.get(wanted.region) in ("opt-in-not-required", "opted-in"):
        yield Finding("ok", "region", wanted.region)
    else:
        got, mend = f"{wanted.region} is not switched on", "switch it on in the account settings, or choose another"
        yield Finding("problem", "region", got, mend)


def check_subnets(aws: Clients, wanted: Wanted) -> Iterator[Finding]:
    """Ray takes the subnets of one VPC that give public addresses, in the order of the zones."""
    found = usable_subnets(aws, wanted)
    have = {subnet["AvailabilityZone"] for subnet in found}
    missing = [zone for zone in wanted.zones if zone not in have]
    if not found:
        mend = "create-default-vpc, or a subnet that gives public addresses"
        yield Finding("problem", "subnets", f"none usable in {wanted.region}", mend)
    elif missing:
        mend = f"aws ec2 create-default-subnet --availability-zone {missing[0]}, or strike the zone out"
        yield Finding("problem", "subnets", f"none usable in {', '.join(missing)}", mend)
    else:
        yield Finding("ok", "subnets", f"{len(have)} zones in {found[0]['VpcId']}")


def usable_subnets(aws: Clients, wanted: Wanted) -> list[dict[str, Any]]:
    """The subnets that Ray would use, in its order."""
    subnets = [
        subnet
        for page in aws("ec2").get_paginator("describe_subnets").paginate()
        for subnet in page["Subnets"]
        if subnet["State"] == "available" and subnet["MapPublicIpOnLaunch"]
    ]
    if wanted.zones:
        rank = {zone: number for number, zone in enumerate(wanted.zones)}
        subnets = [subnet for subnet in subnets if subnet["AvailabilityZone"] in rank]
        subnets.sort(key=lambda subnet: rank[subnet["AvailabilityZone"]])
    return [subnet for subnet in subnets if subnet["VpcId"] == subnets[0]["VpcId"]]


def check_offerings(aws: Clients, wanted: Wanted) -> Iterator[Finding]:
    names = sorted({kind.instance_type for kind in wanted.types})
    query = {"LocationType": "availability-zone", "Filters": [{"Name": "instance-type", "Values": names}]}
    pages = aws("ec2").get_paginator("describe_instance_type_offerings").paginate(**query)
    offers = [(offer["InstanceType"], offer["Location"]) for page in pages for offer in page["InstanceTypeOfferings"]]
    for name in names:
        zones = sorted(zone for kind, zone in offers if kind == name and (not wanted.zones or zone in wanted.zones))
        if zones:
            yield Finding("ok", f"machine {name}", "offered in " + ", ".join(zones))
        else:
            mend = "choose other zones, or set its max_workers to 0"
            yield Finding("problem", f"machine {name}", "offered in none of the zones", mend)


def check_images(aws: Clients, wanted: Wanted) -> Iterator[Finding]:
    for name in dict.fromkeys(kind.image for kind in wanted.types):
        users = [kind for kind in wanted.types if kind.image == name]
        subject = "image of " + ", ".join(kind.name for kind in users)
        image_id = _resolve(aws, name)
        if image_id is None:
            mend = "look the parameter up in the image's release notes, or give an ami- id"
            yield Finding("problem", subject, f"no parameter {name.removeprefix(SSM_PREFIX)}", mend)
            continue
        images = aws("ec2").describe_images(Filters=[{"Name": "image-id", "Values": [image_id]}])["Images"]
        if not images or images[0]["State"] != "available":
            yield Finding("problem", subject, f"{image_id} is not available in {wanted.region}", "give another image")
        else:
            yield from _check_disk(images[0], users, subject)


def _resolve(aws: Clients, image: str) -> str | None:
    if not image.startswith(SSM_PREFIX):
        return image
    parameters = aws("ssm").get_parameters(Names=[image.removeprefix(SSM_PREFIX)])["Parameters"]
    return str(parameters[0]["Value"]) if parameters else None


def _check_disk(image: dict[str, Any], users: list[MachineType], subject: str) -> Iterator[Finding]:
    device = image.get("RootDeviceName", "")
    mapped = [disk["Ebs"] for disk in image["BlockDeviceMappings"] if disk["DeviceName"] == device and "Ebs" in disk]
    least_gib = mapped[0].get("VolumeSize", 0) if mapped else 0
    for kind in users:
        if kind.root_device != device:
            got = f"its root disk is {device}, {kind.name} encrypts {kind.root_device or 'another'}"
            yield Finding("problem", subject, got, f"set DeviceName to {device}")
            return
        if kind.root_gib < least_gib:
            got = f"needs a disk of {least_gib} GB, {kind.name} gives {kind.root_gib}"
            yield Finding("problem", subject, got, f"set VolumeSize to {least_gib} or more")
            return
    yield Finding("ok", subject, f"{image['ImageId']} {image.get('Name', '')}".strip())


def check_group(aws: Clients, wanted: Wanted) -> Iterator[Finding]:
    subnets = usable_subnets(aws, wanted)
    vpc = [subnet["VpcId"] for subnet in subnets[:1]]
    query = [{"Name": "group-name", "Values": [wanted.group]}, {"Name": "vpc-id", "Values": vpc}]
    groups = aws("ec2").describe_security_groups(Filters=query)["SecurityGroups"] if vpc else []
    subject, mend = f"security group {wanted.group}", "python -m cluster setup"
    if not groups:
        yield Finding("problem", subject, "none: Ray would make one that lets the whole world try SSH", mend)
        return
    rules = groups[0]["IpPermissions"]
    sources = [source for rule in rules for source in _sources(rule)]
    inside = any(pair.get("GroupId") == groups[0]["GroupId"] for rule in rules for pair in rule["UserIdGroupPairs"])
    if {"0.0.0.0/0", "::/0"} & set(sources):
        yield Finding("problem", subject, "open to the whole world", mend)
    elif not inside:
        yield Finding("problem", subject, "the machines may not talk to each other", mend)
    elif not sources:
        yield Finding("problem", subject, "nobody may use SSH", mend)
    else:
        yield Finding("ok", subject, "SSH from " + ", ".join(sources))


def _sources(rule: dict[str, Any]) -> list[str]:
    return [r["CidrIp"] for r in rule["IpRanges"]] + [r["CidrIpv6"] for r in rule.get("Ipv6Ranges", [])]


def check_key(aws: Clients, wanted: Wanted) -> Iterator[Finding]:
    if wanted.key_name is None:
        yield Finding("ok", "key pair", "Ray makes one")
        return
    query = [{"Name": "key-name", "Values": [wanted.key_name]}]
    if aws("ec2").describe_key_pairs(Filters=query)["KeyPairs"]:
        yield Finding("ok", "key pair", wanted.key_name)
    else:
        mend = "import its public half, or leave KeyName and ssh_private_key out"
        yield Finding("problem", "key pair", f"no {wanted.key_name} in {wanted.region}", mend)


def check_spot_role(aws: Clients, wanted: Wanted) -> Iterator[Finding]:
    if not any(kind.spot for kind in wanted.types):
        return
    try:
        aws("iam").get_role(RoleName=SPOT_ROLE)
    except aws("iam").exceptions.NoSuchEntityException:
        mend = "python -m cluster setup"
        yield Finding("problem", "spot role", f"no {SPOT_ROLE}: this account never rented spot", mend)
    else:
        yield Finding("ok", "spot role", SPOT_ROLE)


def check_bucket(aws: Clients, storage: Storage, region: str) -> Iterator[Finding]:
    """Is it there, near, closed to the public, and can it be written and read?"""
    s3, subject = aws("s3"), f"bucket {storage.bucket}"
    where = s3.get_bucket_location(Bucket=storage.bucket)["LocationConstraint"] or "us-east-1"
    if where != region:
        got, mend = f"it is in {where}: every checkpoint would cross regions", f"use one in {region}"
        yield Finding("problem", subject, got, mend)
    yield from _check_public(s3, storage, subject)
    yield _try_bucket(s3, storage, subject)


def _try_bucket(s3: Any, storage: Storage, subject: str) -> Finding:
    """Write one small object, read and remove it. A refusal here is a problem: a sweep does the same all the time."""
    import botocore.exceptions

    key, content = f"{storage.prefix}/.doctor-{uuid.uuid4().hex}", b"written and removed by python -m cluster doctor"
    try:
        s3.put_object(Bucket=storage.bucket, Key=key, Body=content)
        try:
            same = s3.get_object(Bucket=storage.bucket, Key=key)["Body"].read() == content
        finally:
            s3.delete_object(Bucket=storage.bucket, Key=key)
    except botocore.exceptions.ClientError as error:
        got = f"{error.operation_name} under {storage.prefix}/: {error.response['Error']['Code']}"
        return Finding("problem", subject, got, "allow it in your policy and in the bucket's")
    if not same:
        return Finding("problem", subject, "what is read is not what was written", "use another bucket")
    return Finding("ok", subject, f"written, read and removed under {storage.prefix}/")


def _check_public(s3: Any, storage: Storage, subject: str) -> Iterator[Finding]:
    import botocore.exceptions

    try:
        block = s3.get_public_access_block(Bucket=storage.bucket)["PublicAccessBlockConfiguration"]
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchPublicAccessBlockConfiguration":
            raise
        block = {}
    if not block or not all(block.values()):
        yield Finding("problem", subject, "public access is not blocked", "python -m cluster setup")


def check_prices(aws: Clients, wanted: Wanted, now: Any) -> Iterator[Finding]:
    """What an hour of each spot type costs at this moment, in the cheapest of the zones."""
    for name in sorted({kind.instance_type for kind in wanted.types if kind.spot}):
        query = {"InstanceTypes": [name], "ProductDescriptions": ["Linux/UNIX"], "StartTime": now}
        pages = aws("ec2").get_paginator("describe_spot_price_history").paginate(**query)
        rows = [row for page in pages for row in page["SpotPriceHistory"]]
        prices = [
            (float(row["SpotPrice"]), row["AvailabilityZone"])
            for row in rows
            if not wanted.zones or row["AvailabilityZone"] in wanted.zones
        ]
        if prices:
            yield Finding("ok", f"spot price {name}", "from ${:.4f} an hour, in {}".format(*min(prices)))
        else:
            mend = "choose other zones, or set its max_workers to 0"
            yield Finding("problem", f"spot price {name}", "none in these zones: nobody sells it", mend)
