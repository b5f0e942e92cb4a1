"""What still costs money is found in every region, named with the command that ends it, and nothing else is."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from cluster import ClusterError, orphans
from cluster.__main__ import main
from tests.cluster.conftest import REGION, SPOT_FILE, Account

OURS = {"Key": "project", "Value": "paramalloc"}


def launch(ec2: Any, *tags: dict[str, str]) -> str:
    spec = [{"ResourceType": "instance", "Tags": list(tags)}] if tags else []
    answer = ec2.run_instances(
        ImageId="ami-1", InstanceType="g5.xlarge", MinCount=1, MaxCount=1, TagSpecifications=spec
    )
    return str(answer["Instances"][0]["InstanceId"])


def test_nothing_of_ours_is_exit_code_0(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    launch(account("ec2"))  # somebody else's
    launch(account("ec2"), {"Key": "project", "Value": "other"})
    ended = launch(account("ec2"), OURS)
    account("ec2").terminate_instances(InstanceIds=[ended])
    assert main(["orphans", str(SPOT_FILE)]) == 0
    assert capsys.readouterr().out == f"{REGION}  nothing of ours\n"


def test_what_runs_or_only_stopped_is_named_with_the_command_that_ends_it(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    tags = {"Key": "ray-node-type", "Value": "worker"}, {"Key": "ray-cluster-name", "Value": "paramalloc"}
    worker, stopped = launch(account("ec2"), OURS, *tags), launch(account("ec2"), OURS)
    account("ec2").stop_instances(InstanceIds=[stopped])
    assert main(["orphans", str(SPOT_FILE)]) == 1
    said = capsys.readouterr().out
    assert f"{REGION}  {worker}  on-demand g5.xlarge, worker of cluster paramalloc, running, launched 20" in said
    assert f"{stopped}  on-demand g5.xlarge, machine of cluster unknown, stopped" in said
    assert f"ray down -y {SPOT_FILE}\n" in said
    ending = next(line for line in said.splitlines() if line.startswith("aws ec2 terminate-instances"))
    assert set(ending.split()[6:]) == {worker, stopped}
    assert {state(account, name) for name in (worker, stopped)} == {"running", "stopped"}  # as they were


def state(account: Account, name: str) -> str:
    found = account("ec2").describe_instances(InstanceIds=[name])["Reservations"]
    return str(found[0]["Instances"][0]["State"]["Name"])


def test_a_disk_without_a_machine_is_found(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    tags = [{"ResourceType": "volume", "Tags": [OURS]}]
    disk = account("ec2").create_volume(AvailabilityZone="us-east-1a", Size=100, TagSpecifications=tags)["VolumeId"]
    account("ec2").create_volume(AvailabilityZone="us-east-1a", Size=1)  # somebody else's
    assert main(["orphans", str(SPOT_FILE)]) == 1
    said = capsys.readouterr().out
    assert f"{REGION}  {disk}  disk of 100 GB" in said
    assert said.count("delete-volume") == 1


def test_other_regions_are_looked_into_when_given(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    far = launch(boto3.client("ec2", region_name="eu-west-1"), OURS)
    assert main(["orphans", str(SPOT_FILE)]) == 0
    assert main(["orphans", str(SPOT_FILE), "--region", REGION, "--region", "eu-west-1"]) == 1
    assert f"aws ec2 terminate-instances --region eu-west-1 --instance-ids {far}\n" in capsys.readouterr().out


def test_a_region_that_may_not_be_asked_is_no_all_clear(account: Account) -> None:
    account.denied.add("DescribeInstances")
    with pytest.raises(ClusterError, match="DescribeInstances: got UnauthorizedOperation"):
        orphans.run(SPOT_FILE, [], lambda _: account)
