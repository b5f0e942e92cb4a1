"""What the machines' roles may do: all that is called on them, and nothing that nobody calls."""

from __future__ import annotations

from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from cluster.permissions import check_quotas, check_roles
from cluster.policy import MARKS, fill
from cluster.setup_account import make_all
from cluster.wanted import Storage, Wanted, wanted_by
from paramalloc.storage.objects import Objects
from tests.cluster.conftest import Account

REPOSITORY = Path(__file__).parents[2]
OBJECTS, SPOT_FILE = "paramalloc/storage/objects.py", "cluster/spot.yaml"
RAYS = "ray/autoscaler/_private/aws/node_provider.py"
# Which line of which file makes a machine ask for it; the last two come along with RunInstances.
CALLS = {
    "s3:ListBucket": (OBJECTS, 'get_paginator("list_objects_v2")'),
    "s3:GetObject": (OBJECTS, ".get_object("),
    "s3:PutObject": (OBJECTS, ".put_object("),
    "s3:DeleteObject": (OBJECTS, ".delete_objects("),
    "s3:AbortMultipartUpload": (OBJECTS, ".upload_fileobj("),  # in pieces, which are dropped when one fails
    "ec2:DescribeInstances": (RAYS, "self.ec2.instances.filter("),
    "ec2:DescribeSpotPriceHistory": ("cost/sources.py", ".describe_spot_price_history("),
    "pricing:GetProducts": ("cost/sources.py", ".get_products("),
    "ec2:RunInstances": (RAYS, ".create_instances("),
    "ec2:TerminateInstances": ("cluster/teardown.py", ".terminate_instances("),
    "ec2:CreateTags": (RAYS, ".create_tags("),
    "ssm:GetParameters": (SPOT_FILE, "resolve:ssm:"),
    "iam:PassRole": (SPOT_FILE, "IamInstanceProfile:"),
}


def policy(name: str) -> list[dict[str, Any]]:
    statements: list[dict[str, Any]] = fill(name, dict.fromkeys(MARKS, "value") | {"PREFIX": "sweeps"})["Statement"]
    return statements


def actions(name: str) -> set[str]:
    listed = [statement["Action"] for statement in policy(name)]
    return {action for some in listed for action in ([some] if isinstance(some, str) else some)}


def lists(prefix: str) -> bool:
    """Whether a worker may list this prefix, by the policy's own condition."""
    (statement,) = [statement for statement in policy("worker") if statement["Action"] == "s3:ListBucket"]
    return fnmatchcase(prefix, statement["Condition"]["StringLike"]["s3:prefix"])


def test_nothing_is_allowed_that_nobody_calls() -> None:
    assert actions("head") == set(CALLS)
    assert actions("worker") == {action for action in CALLS if action.startswith("s3:")}
    ray = find_spec("ray")
    assert ray is not None
    assert ray.origin is not None
    for action, (file, call) in CALLS.items():
        root = Path(ray.origin).parents[1] if file == RAYS else REPOSITORY
        assert call in (root / file).read_text(), action


class Bucket:
    """Takes down the prefixes that are listed and the keys that are asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.exceptions = type("exceptions", (), {"NoSuchKey": KeyError})

    def get_paginator(self, _: str) -> Bucket:
        return self

    def paginate(self, **ask: str) -> list[dict[str, Any]]:
        self.asked.append(ask["Prefix"])
        return []

    def get_object(self, **ask: str) -> None:
        self.asked.append(ask["Key"])
        raise KeyError


@pytest.mark.parametrize("address", ["s3://bucket/sweeps", "s3://bucket/sweeps/", "s3://bucket/sweeps/embed"])
def test_what_a_sweep_lists_is_allowed_and_its_neighbours_are_not(address: str) -> None:
    bucket = Bucket()
    objects = Objects(address, bucket)
    objects.names()
    objects.names("ranking/emb35/")
    objects.get("plan.json")  # S3 says "no such key" only to those who may list it
    assert len(bucket.asked) == 3
    assert all(lists(prefix) for prefix in bucket.asked), bucket.asked
    assert not [prefix for prefix in ("", "sweeps", "sweeps-of-others/", "other/sweeps/") if lists(prefix)]


def test_the_simulator_is_asked_about_a_folder_that_the_policy_admits(
    account: Account, wanted: Wanted, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(make_all(account, wanted, storage, "203.0.113.7/32"))
    asked: list[dict[str, str]] = []
    answer = account._SimulatePrincipalPolicy
    monkeypatch.setattr(
        account, "_SimulatePrincipalPolicy", lambda params: asked.append(params["body"]) or answer(params)
    )
    assert {finding.state for finding in check_roles(account, wanted, storage, "123456789012")} == {"ok"}
    listing = [body for body in asked if "s3:ListBucket" in body.values()]
    assert len(listing) == 2  # the head's role and the workers'
    for body in listing:
        assert body["ContextEntries.member.1.ContextKeyName"] == "s3:prefix"
        assert lists(body["ContextEntries.member.1.ContextKeyValues.member.1"])


def test_a_quota_names_the_machine_that_it_is_too_small_for(account: Account, spot_config: dict[str, Any]) -> None:
    """Not the first of the file: moto sells no p3, so a large g6 stands for the A100 machine behind the V100 one."""
    spot_config["available_node_types"]["g6-spot"]["node_config"]["InstanceType"] = "g6.12xlarge"
    account.quota["L-3819A6DF"] = 16.0
    problems = [finding for finding in check_quotas(account, wanted_by(spot_config)) if finding.state == "problem"]
    assert [(problem.subject, problem.got) for problem in problems] == [
        ("quota spot g", "16 vCPUs, one g6.12xlarge needs 48")
    ]
