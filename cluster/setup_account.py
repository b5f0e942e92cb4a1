"""`python -m cluster setup FILE --storage s3://BUCKET/PREFIX`: makes once what the cluster file takes for granted.

Always holds: running it again is safe and mends what has drifted; nothing is made that costs money by itself;
nothing outside its own names is touched; the security group ends with two rules, SSH from the given address and
everything between its members. Made: a token for Ray, a bucket, roles with profiles, the spot role, the group.
"""

from __future__ import annotations

import ipaddress
import json
import os
import secrets
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from cluster.account import SPOT_ROLE, usable_subnets
from cluster.aws import PROJECT_TAG, Clients, clients, refusals_in_words
from cluster.doctor import read_wanted
from cluster.errors import ClusterError
from cluster.policy import fill
from cluster.wanted import Storage, Wanted

MY_ADDRESS_URL = "https://checkip.amazonaws.com"
POLICY_NAME = "paramalloc"


def run(file: Path, storage: str, ssh_from: str | None, aws: Clients | None = None) -> int:
    """Make what is missing and say so. Errors: ClusterError, also for what AWS refuses."""
    where, wanted = Storage.parse(storage), read_wanted(file)
    source = _network(ssh_from or _my_address())
    with refusals_in_words():
        for line in make_all(aws or clients(wanted.region), wanted, where, source):
            sys.stdout.write(f"{line}\n")
    sys.stdout.write("done; `python -m cluster doctor` checks it\n")
    return 0


def make_all(aws: Clients, wanted: Wanted, storage: Storage, source: str) -> Iterator[str]:
    """Make everything, one line per thing. `source`: the network that may use SSH, such as 203.0.113.7/32."""
    number = aws("sts").get_caller_identity()["Account"]
    yield _make_token()
    yield from _make_bucket(aws("s3"), storage, wanted.region)
    yield from _make_spot_role(aws("iam"))
    yield from _make_roles(aws("iam"), wanted, storage, number)
    yield from _make_group(aws, wanted, source)


def _make_token() -> str:
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)  # Ray's own command lets everybody read it.
        return f"kept  Ray token {path}"
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secrets.token_hex(32))
    return f"made  Ray token {path}"


def _make_bucket(s3: Any, storage: Storage, region: str) -> Iterator[str]:
    names = {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    if storage.bucket in names:
        yield f"kept  bucket {storage.bucket}"
    else:
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=storage.bucket, **place)
        # Pieces of uploads that a lost machine never finished cost money and are shown nowhere.
        rule = {
            "ID": "unfinished-uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
        }
        s3.put_bucket_lifecycle_configuration(Bucket=storage.bucket, LifecycleConfiguration={"Rules": [rule]})
        s3.put_bucket_tagging(Bucket=storage.bucket, Tagging={"TagSet": [PROJECT_TAG]})
        yield f"made  bucket {storage.bucket}"
    flags = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    s3.put_public_access_block(Bucket=storage.bucket, PublicAccessBlockConfiguration=dict.fromkeys(flags, True))


def _make_spot_role(iam: Any) -> Iterator[str]:
    try:
        iam.get_role(RoleName=SPOT_ROLE)
    except iam.exceptions.NoSuchEntityException:
        iam.create_service_linked_role(AWSServiceName="spot.amazonaws.com")
        yield f"made  {SPOT_ROLE}"
    else:
        yield f"kept  {SPOT_ROLE}"


def _make_roles(iam: Any, wanted: Wanted, storage: Storage, number: str) -> Iterator[str]:
    head = next(kind.profile for kind in wanted.types if kind.name == wanted.head)
    workers = dict.fromkeys(kind.profile for kind in wanted.workers)
    marks = {
        "ACCOUNT": number,
        "REGION": wanted.region,
        "BUCKET": storage.bucket,
        "PREFIX": storage.prefix,
        "CLUSTER": wanted.cluster,
        "WORKER": next(iter(workers), ""),
    }
    yield _make_role(iam, head, "head", marks)
    for worker in workers:
        yield _make_role(iam, worker, "worker", marks)


def _make_role(iam: Any, name: str, policy: str, marks: dict[str, str]) -> str:
    """A role with the policy of iam/<policy>.json, and the profile of the same name through which machines get it."""
    trust = json.dumps(fill("trust", marks))
    try:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust, Tags=[PROJECT_TAG])
        verb = "made"
    except iam.exceptions.EntityAlreadyExistsException:
        verb = "kept"
    iam.put_role_policy(RoleName=name, PolicyName=POLICY_NAME, PolicyDocument=json.dumps(fill(policy, marks)))
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_instance_profile(InstanceProfileName=name, Tags=[PROJECT_TAG])
    if not iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]:
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return f"{verb}  role and profile {name}, with iam/{policy}.json"


def _make_group(aws: Clients, wanted: Wanted, source: str) -> Iterator[str]:
    ec2, subnets = aws("ec2"), usable_subnets(aws, wanted)
    if not subnets:
        raise ClusterError("subnets", f"none usable in {wanted.region}", "aws ec2 create-default-vpc")
    vpc = subnets[0]["VpcId"]
    query = [{"Name": "group-name", "Values": [wanted.group]}, {"Name": "vpc-id", "Values": [vpc]}]
    groups = ec2.describe_security_groups(Filters=query)["SecurityGroups"]
    if groups:
        group, old = groups[0]["GroupId"], groups[0]["IpPermissions"]
    else:
        tags = [{"ResourceType": "security-group", "Tags": [PROJECT_TAG]}]
        about = {"GroupName": wanted.group, "Description": "Ray cluster of paramalloc", "VpcId": vpc}
        group, old = ec2.create_security_group(**about, TagSpecifications=tags)["GroupId"], []
    if old:
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=old)
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=_rules(group, source))
    yield f"{'set ' if groups else 'made'}  security group {wanted.group}: SSH from {source}, all between members"


def _rules(group: str, source: str) -> list[dict[str, Any]]:
    ranges = {"Ipv6Ranges": [{"CidrIpv6": source}]} if ":" in source else {"IpRanges": [{"CidrIp": source}]}
    return [
        {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, **ranges},
        {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]},
    ]


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ClusterError("--ssh-from", repr(text), "give an address or a network such as 203.0.113.7/32") from None
    if network.prefixlen == 0:
        raise ClusterError("--ssh-from", repr(text), "give your own address, not the whole world")
    return str(network)


def _my_address() -> str:
    try:
        with urllib.request.urlopen(MY_ADDRESS_URL, timeout=10) as answer:
            return str(answer.read(64).decode("ascii", "replace")).strip()
    except OSError as error:
        raise ClusterError(MY_ADDRESS_URL, str(error), "give your public address by --ssh-from") from None
