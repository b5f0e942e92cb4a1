"""The doctor on an account that `setup` prepared, with one thing after the other broken."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.parsers import ResponseParserError

from cluster import ClusterError, aws, doctor
from cluster.__main__ import main
from cluster.account import Finding
from cluster.doctor import examine
from cluster.setup_account import make_all
from cluster.wanted import MachineType, Storage, Wanted
from tests.cluster.conftest import SECRET, SPOT_FILE, Account

HOME = "203.0.113.7/32"
LOST_TYPE = MachineType("head", "g99.xlarge", "ami-1", "paramalloc-head", False, 1, "/dev/sda1", 100)


@pytest.fixture
def ready(account: Account, wanted: Wanted, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Account:
    monkeypatch.setattr("shutil.which", lambda tool: f"/usr/bin/{tool}")
    list(make_all(account, wanted, storage, HOME))
    return account


def findings(account: Account, wanted: Wanted, storage: Storage, state: str) -> list[Finding]:
    return [finding for finding in examine(account, wanted, storage) if finding.state == state]


def test_a_prepared_account_has_no_problem(ready: Account, wanted: Wanted, storage: Storage) -> None:
    found = list(examine(ready, wanted, storage))
    assert {finding.state for finding in found} == {"ok"}, [f for f in found if f.state != "ok"]
    lines = [f"{finding.subject}: {finding.got}" for finding in found]
    assert "credentials: account 123456789012 as user/moto" in lines
    assert "quota spot g: 256 vCPUs; the file asks for 32 at most" in lines  # eight workers of four
    assert f"security group paramalloc: SSH from {HOME}" in lines
    assert any(line.startswith("spot price g5.xlarge: from $") for line in lines)


Break = Callable[[Account, Storage], Any]


def _open_ssh(account: Account, _: Storage) -> None:
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    groups = account("ec2").describe_security_groups(Filters=[{"Name": "group-name", "Values": ["paramalloc"]}])
    group = groups["SecurityGroups"][0]["GroupId"]
    account("ec2").authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])


def _delete_group(account: Account, _: Storage) -> None:
    groups = account("ec2").describe_security_groups(Filters=[{"Name": "group-name", "Values": ["paramalloc"]}])
    account("ec2").delete_security_group(GroupId=groups["SecurityGroups"][0]["GroupId"])


def _delete_subnet(account: Account, _: Storage) -> None:
    zone = [{"Name": "availability-zone", "Values": ["us-east-1c"]}]
    subnet = account("ec2").describe_subnets(Filters=zone)["Subnets"][0]["SubnetId"]
    account("ec2").delete_subnet(SubnetId=subnet)


def _take_the_role(account: Account, _: Storage) -> None:
    name = "paramalloc-worker"
    account("iam").remove_role_from_instance_profile(InstanceProfileName=name, RoleName=name)


def _delete_token(_: Account, __: Storage) -> None:
    Path(os.environ["RAY_AUTH_TOKEN_PATH"]).unlink()


def _show_token(_: Account, __: Storage) -> None:
    Path(os.environ["RAY_AUTH_TOKEN_PATH"]).chmod(0o644)


BROKEN: list[tuple[Break, str, str]] = [
    (lambda account, _: account.quota.update({"L-3819A6DF": 0.0}), "quota spot g", "0 vCPUs, one g5.xlarge needs 4"),
    (
        lambda account, _: account.quota.update({"L-1216C47A": 1.0}),
        "quota on-demand standard",
        "one m6i.large needs 2",
    ),
    (_delete_subnet, "subnets", "us-east-1c"),
    (lambda account, _: setattr(account, "image", None), "image of head", "no parameter /aws/service/canonical"),
    (lambda account, _: setattr(account, "image_gib", None), "image of head", "not available"),
    (
        lambda account, _: setattr(account, "image_gib", 200),
        "image of head",
        "needs a disk of 200 GB",
    ),
    (_open_ssh, "security group paramalloc", "open to the whole world"),
    (_delete_group, "security group paramalloc", "none"),
    (_take_the_role, "instance profile paramalloc-worker", "no role"),
    (lambda account, _: account.refused.add("iam:PassRole"), "permissions of paramalloc-head", "iam:PassRole"),
    (
        lambda account, _: account.refused.add("ec2:RunInstances"),
        "permissions of paramalloc-head",
        "ec2:RunInstances",
    ),
    (lambda account, s: account("s3").delete_bucket(Bucket=s.bucket), "bucket paramalloc-results", "NoSuchBucket"),
    (
        lambda account, s: account("s3").delete_public_access_block(Bucket=s.bucket),
        "bucket paramalloc-results",
        "not blocked",
    ),
    (lambda account, _: account.denied.add("PutObject"), "bucket paramalloc-results", "PutObject under sweeps/"),
    (lambda account, _: account.denied.add("GetObject"), "bucket paramalloc-results", "GetObject under sweeps/"),
    (
        lambda account, _: account.refused.add("pricing:GetProducts"),
        "permissions of paramalloc-head",
        "pricing:GetProducts",
    ),
    (lambda account, _: account("iam").delete_role(RoleName="AWSServiceRoleForEC2Spot"), "spot role", "never rented"),
    (_delete_token, "Ray token", "no file"),
    (_show_token, "Ray token", "others may read"),
]


@pytest.mark.parametrize(("break_it", "subject", "part"), BROKEN)
def test_each_broken_thing_is_named_and_nothing_else(
    ready: Account, wanted: Wanted, storage: Storage, break_it: Break, subject: str, part: str
) -> None:
    break_it(ready, storage)
    problems = findings(ready, wanted, storage, "problem")
    assert {problem.subject.split(",")[0] for problem in problems} - {"image of g5-spot"} == {subject}
    assert part in problems[0].got
    assert problems[0].mend


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({"region": "xx-north-1"}, "region"),
        ({"zones": ("us-east-1x",)}, "subnets"),
        ({"zones": ("us-east-1x",)}, "machine g5.xlarge"),
        ({"zones": ("us-east-1x",)}, "spot price g5.xlarge"),
        ({"types": (replace(LOST_TYPE, spot=True),)}, "machine g99.xlarge"),
        ({"types": (replace(LOST_TYPE, spot=True),)}, "spot price g99.xlarge"),
        ({"key_name": "lost"}, "key pair"),
        ({"private_key": "/nowhere/key.pem"}, "private key"),
    ],
)
def test_a_file_that_wants_what_is_not_there(
    ready: Account, wanted: Wanted, storage: Storage, change: dict[str, Any], subject: str
) -> None:
    problems = findings(ready, replace(wanted, **change), storage, "problem")
    assert subject in {problem.subject for problem in problems}


def test_a_bucket_in_another_region_is_far_away(ready: Account, wanted: Wanted) -> None:
    place = {"LocationConstraint": "eu-west-1"}
    ready("s3").create_bucket(Bucket="paramalloc-far", CreateBucketConfiguration=place)
    problems = findings(ready, wanted, Storage("paramalloc-far", "x"), "problem")
    assert "it is in eu-west-1" in problems[0].got


def test_a_bucket_that_the_machines_may_not_write(ready: Account, wanted: Wanted, storage: Storage) -> None:
    ready.refused.add("s3:PutObject")
    problems = {problem.subject: problem.got for problem in findings(ready, wanted, storage, "problem")}
    told = "may not s3:PutObject"
    assert problems == {"permissions of paramalloc-head": told, "permissions of paramalloc-worker": told}


def test_missing_tools_are_named(
    ready: Account, wanted: Wanted, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert [problem.subject for problem in findings(ready, wanted, storage, "problem")] == ["ssh", "rsync"]


def test_without_credentials_that_is_the_only_complaint_about_aws(
    ready: Account, wanted: Wanted, storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    problems = [
        finding for finding in examine(aws.clients("us-east-1"), wanted, storage) if finding.state == "problem"
    ]
    assert [problem.subject for problem in problems] == ["credentials"]
    assert "aws configure" in problems[0].mend


def test_what_may_not_be_asked_is_unknown_and_stops_nothing(ready: Account, wanted: Wanted, storage: Storage) -> None:
    ready.denied |= {"DescribeImages", "SimulatePrincipalPolicy"}
    unknown = findings(ready, wanted, storage, "unknown")
    assert [finding.subject for finding in unknown] == ["images", "roles"]
    assert "DescribeImages" in unknown[0].got
    assert findings(ready, wanted, storage, "problem") == []


def test_an_answer_that_is_not_from_aws_is_a_problem_and_stops_nothing(
    ready: Account, wanted: Wanted, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_a_proxy(_: object) -> None:
        raise ResponseParserError("invalid XML received")

    monkeypatch.setattr(ready, "_GetServiceQuota", of_a_proxy, raising=False)
    problems = findings(ready, wanted, storage, "problem")
    assert [(problem.subject, problem.got) for problem in problems] == [("quotas", "an answer that is not AWS's")]


def test_nothing_is_left_in_the_bucket_or_rented(ready: Account, wanted: Wanted, storage: Storage) -> None:
    list(examine(ready, wanted, storage))
    assert ready("s3").list_objects_v2(Bucket=storage.bucket)["KeyCount"] == 0
    assert ready("ec2").describe_instances()["Reservations"] == []


def test_the_report_ends_with_a_count_and_shows_no_secret(ready: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run(SPOT_FILE, "s3://paramalloc-results/sweeps", ready) == 0
    ready.quota["L-3819A6DF"] = 0.0
    assert doctor.run(SPOT_FILE, "s3://paramalloc-results/sweeps", ready) == 1
    shown = capsys.readouterr().out
    assert shown.endswith("1 problem\n")
    assert "PROBLEM quota spot g: 0 vCPUs" in shown
    assert "-> ask for 32 under Service Quotas" in shown
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text()
    assert not [secret for secret in (SECRET, "planted-key-id", token) if secret in shown]


@pytest.mark.parametrize("storage", ["results", "s3://", "s3://Bucket/x", "s3://bucket", "s3://bucket/"])
def test_a_wrong_storage_address_is_bad_usage(storage: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(SPOT_FILE), "--storage", storage]) == 2
    assert "give s3://bucket/prefix" in capsys.readouterr().err


def test_an_invalid_or_local_cluster_file_is_bad_usage(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("cluster_name: x\nprovider: {type: aws}\nmax_worker: 2\n")
    for path in (tmp_path / "bad.yaml", SPOT_FILE.with_name("local.yaml")):
        with pytest.raises(ClusterError):
            doctor.read_wanted(path)


def test_an_address_that_is_still_missing_is_named(spot_config: dict[str, Any], tmp_path: Path) -> None:
    spot_config["available_node_types"]["v100-on-demand"]["max_workers"] = 1
    (tmp_path / "spot.yaml").write_text(yaml.safe_dump(spot_config))
    with pytest.raises(ClusterError, match=r"v100-on-demand.*TORCH_INDEX_URL is no address yet; put in"):
        doctor.run(tmp_path / "spot.yaml", "s3://paramalloc-results/sweeps")
