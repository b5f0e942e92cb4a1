"""`setup` makes all that the shipped cluster file needs, once, and mends what has drifted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cluster import ClusterError, setup_account
from cluster.__main__ import main
from cluster.setup_account import make_all
from cluster.wanted import Storage, Wanted
from tests.cluster.conftest import SPOT_FILE, Account

HOME = "203.0.113.7/32"


def group(account: Account) -> dict[str, Any]:
    query = [{"Name": "group-name", "Values": ["paramalloc"]}]
    found = account("ec2").describe_security_groups(Filters=query)["SecurityGroups"]
    assert len(found) == 1
    return dict(found[0])


def test_all_is_made_and_the_second_time_kept(account: Account, wanted: Wanted, storage: Storage) -> None:
    first = list(make_all(account, wanted, storage, HOME))
    assert {line[:4] for line in first} == {"made"}
    second = list(make_all(account, wanted, storage, HOME))
    assert {line[:4] for line in second} == {"kept", "set "}
    assert len(first) == len(second)


def test_the_group_lets_in_one_address_and_its_own(account: Account, wanted: Wanted, storage: Storage) -> None:
    list(make_all(account, wanted, storage, "198.51.100.0/24"))
    list(make_all(account, wanted, storage, HOME))  # moved house
    rules = {rule["IpProtocol"]: rule for rule in group(account)["IpPermissions"]}
    assert set(rules) == {"tcp", "-1"}
    assert [r["CidrIp"] for r in rules["tcp"]["IpRanges"]] == [HOME]
    assert (rules["tcp"]["FromPort"], rules["tcp"]["ToPort"]) == (22, 22)
    assert [pair["GroupId"] for pair in rules["-1"]["UserIdGroupPairs"]] == [group(account)["GroupId"]]
    assert not rules["-1"]["IpRanges"]


def test_the_roles_have_the_shipped_policies_filled_in(account: Account, wanted: Wanted, storage: Storage) -> None:
    list(make_all(account, wanted, storage, HOME))
    iam = account("iam")
    for name, starts in (("paramalloc-head", True), ("paramalloc-worker", False)):
        policy = json.dumps(iam.get_role_policy(RoleName=name, PolicyName="paramalloc")["PolicyDocument"])
        assert "@" not in policy
        assert "arn:aws:s3:::paramalloc-results/sweeps/*" in policy
        assert ("ec2:RunInstances" in policy) == starts
        roles = iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]["Roles"]
        assert [role["RoleName"] for role in roles] == [name]


def test_the_bucket_is_closed_and_forgets_unfinished_uploads(
    account: Account, wanted: Wanted, storage: Storage
) -> None:
    list(make_all(account, wanted, storage, HOME))
    s3 = account("s3")
    block = s3.get_public_access_block(Bucket=storage.bucket)["PublicAccessBlockConfiguration"]
    assert all(block.values())
    rules = s3.get_bucket_lifecycle_configuration(Bucket=storage.bucket)["Rules"]
    assert rules[0]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 2}


def test_the_token_is_for_its_owner_alone_and_never_changed(
    account: Account, wanted: Wanted, storage: Storage
) -> None:
    list(make_all(account, wanted, storage, HOME))
    path = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    token = path.read_text()
    assert len(token) == 64
    path.chmod(0o644)
    lines = list(make_all(account, wanted, storage, HOME))
    assert path.read_text() == token
    assert path.stat().st_mode & 0o777 == 0o600
    assert not [line for line in lines if token in line]


@pytest.mark.parametrize("address", ["0.0.0.0/0", "::/0", "home", "203.0.113.7/99"])
def test_the_whole_world_and_nonsense_are_refused(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["setup", str(SPOT_FILE), "--storage", "s3://bucket/x", "--ssh-from", address]) == 2
    assert "--ssh-from" in capsys.readouterr().err


def test_a_refusal_of_aws_is_one_line(account: Account) -> None:
    account.denied.add("CreateRole")
    with pytest.raises(ClusterError, match="CreateRole: got UnauthorizedOperation"):
        setup_account.run(SPOT_FILE, "s3://paramalloc-results/sweeps", HOME, account)
