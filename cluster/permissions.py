"""Quotas and permissions of an account: how many machines it may rent, and what its machines may do there.

Always holds: like `account.py`, whose `Finding`s these are; permissions are asked of IAM's simulator, which knows
the policies of roles but not those of an organization.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cluster.account import Finding
from cluster.aws import Clients
from cluster.wanted import MachineType, Storage, Wanted

# Service Quotas of EC2, in vCPUs: (spot, on demand) by the family's first letters.
QUOTAS = {
    "p": ("L-7212CCBC", "L-417A185B"),
    "g": ("L-3819A6DF", "L-DB2E81BA"),
    "standard": ("L-34B43A08", "L-1216C47A"),
}
STANDARD_FAMILIES = ("a", "c", "d", "h", "i", "m", "r", "t", "z")


def check_quotas(aws: Clients, wanted: Wanted) -> Iterator[Finding]:
    """One line per quota: is there room for all machines that count against it, or at least for one of each type?"""
    names = sorted({kind.instance_type for kind in wanted.types})
    found = aws("ec2").describe_instance_types(Filters=[{"Name": "instance-type", "Values": names}])["InstanceTypes"]
    vcpus = {kind["InstanceType"]: int(kind["VCpuInfo"]["DefaultVCpus"]) for kind in found}
    groups: dict[tuple[str, bool], list[MachineType]] = {}
    for kind in wanted.types:
        family = _family(kind.instance_type)
        if family is None:
            yield Finding("unknown", f"quota of {kind.instance_type}", "its quota is not known here", "look it up")
        elif kind.instance_type in vcpus:  # Whether it is to be had at all is another question's answer.
            groups.setdefault((family, kind.spot), []).append(kind)
    for (family, spot), kinds in groups.items():
        code = QUOTAS[family][0 if spot else 1]
        quota = aws("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=code)["Quota"]["Value"]
        subject = f"quota {'spot' if spot else 'on-demand'} {family}"
        largest = max((kind.instance_type for kind in kinds), key=vcpus.__getitem__)
        most = _most_vcpus(wanted, kinds, vcpus)
        if quota < vcpus[largest]:
            got = f"{quota:g} vCPUs, one {largest} needs {vcpus[largest]}"
            mend = f"ask for {most} under Service Quotas, Amazon EC2, {code} (takes hours to days)"
            yield Finding("problem", subject, got, mend)
        else:
            yield Finding("ok", subject, f"{quota:g} vCPUs; the file asks for {most} at most")


def _most_vcpus(wanted: Wanted, kinds: list[MachineType], vcpus: dict[str, int]) -> int:
    """Of as many machines of these types as may be there at a time, the largest ones."""
    head = sum(vcpus[kind.instance_type] for kind in kinds if kind.name == wanted.head)
    workers = sorted(
        (vcpus[kind.instance_type] for kind in kinds if kind.name != wanted.head for _ in range(kind.most)),
        reverse=True,
    )
    return head + sum(workers[: wanted.most_workers])


def _family(instance_type: str) -> str | None:
    letters = re.match("[a-z]+", instance_type)
    family = letters[0] if letters else ""
    if family in ("g", "vt"):
        return "g"
    if family == "p" and instance_type[1:2] in "234":
        return "p"
    return "standard" if family in STANDARD_FAMILIES else None


def check_roles(aws: Clients, wanted: Wanted, storage: Storage, account: str) -> Iterator[Finding]:
    """Each instance profile has a role, and the role may do what its machines must."""
    iam = aws("iam")
    head = next(kind.profile for kind in wanted.types if kind.name == wanted.head)
    for name in dict.fromkeys(kind.profile for kind in wanted.types):
        try:
            roles = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]
        except iam.exceptions.NoSuchEntityException:
            roles = []
        if not roles:
            mend = "python -m cluster setup"
            yield Finding("problem", f"instance profile {name}", "there is none, or it has no role", mend)
            continue
        yield Finding("ok", f"instance profile {name}", f"role {roles[0]['RoleName']}")
        questions = _storage_questions(storage)
        if name == head:
            questions += _head_questions(wanted, account)
        yield from _simulate(iam, roles[0]["Arn"], questions, f"permissions of {name}")


def _simulate(iam: Any, role: str, questions: list[dict[str, Any]], subject: str) -> Iterator[Finding]:
    refused = []
    for question in questions:
        answers = iam.simulate_principal_policy(PolicySourceArn=role, **question)["EvaluationResults"]
        refused += [answer["EvalActionName"] for answer in answers if answer["EvalDecision"] != "allowed"]
    if refused:
        got, mend = f"may not {', '.join(sorted(set(refused)))}", "python -m cluster setup"
        yield Finding("problem", subject, got, mend)
    else:
        yield Finding("ok", subject, "all that its machines must do")


def _storage_questions(storage: Storage) -> list[dict[str, Any]]:
    bucket, folder = f"arn:aws:s3:::{storage.bucket}", f"{storage.prefix}/sweep/"
    actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    return [
        {"ActionNames": actions, "ResourceArns": [f"{bucket}/{folder}metrics.json"]},
        {
            "ActionNames": ["s3:ListBucket"],
            "ResourceArns": [bucket],
            "ContextEntries": _context({"s3:prefix": folder}),
        },
    ]


def _head_questions(wanted: Wanted, account: str) -> list[dict[str, Any]]:
    instance = f"arn:aws:ec2:{wanted.region}:{account}:instance/*"
    worker = next((kind.profile for kind in wanted.workers), "")
    start = {
        "aws:RequestTag/ray-cluster-name": wanted.cluster,
        "ec2:MetadataHttpTokens": "required",
        "ec2:InstanceProfile": f"arn:aws:iam::{account}:instance-profile/{worker}",
    }
    own = {"aws:ResourceTag/ray-cluster-name": wanted.cluster}
    here = {"aws:RequestedRegion": wanted.region}
    return [
        {"ActionNames": ["ec2:RunInstances"], "ResourceArns": [instance], "ContextEntries": _context(start)},
        {"ActionNames": ["ec2:TerminateInstances"], "ResourceArns": [instance], "ContextEntries": _context(own)},
        {
            "ActionNames": ["ec2:DescribeInstances", "ec2:DescribeSpotPriceHistory"],
            "ContextEntries": _context(here),
        },
        {"ActionNames": ["pricing:GetProducts"]},
        {
            "ActionNames": ["iam:PassRole"],
            "ResourceArns": [f"arn:aws:iam::{account}:role/{worker}"],
            "ContextEntries": _context({"iam:PassedToService": "ec2.amazonaws.com"}),
        },
    ]


def _context(values: dict[str, str]) -> list[dict[str, Any]]:
    return [
        {"ContextKeyName": name, "ContextKeyValues": [value], "ContextKeyType": "string"}
        for name, value in values.items()
    ]
