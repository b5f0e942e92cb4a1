"""What AWS would be asked for if Ray took the shipped spot.yaml: its own bootstrap and node provider, on moto."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.account import usable_subnets
from cluster.setup_account import make_all
from cluster.wanted import Storage, Wanted
from tests.cluster.conftest import REGION, Account

HOME = "203.0.113.7/32"


@pytest.fixture
def launched(
    account: Account,
    wanted: Wanted,
    storage: Storage,
    spot_config: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> dict[str, dict[str, Any]]:
    """The parameters of RunInstances for the head and for one worker of each market."""
    (tmp_path / ".ssh").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes the key pair it makes there.
    list(make_all(account, wanted, storage, HOME))
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
    from ray.autoscaler._private.util import prepare_config

    config = bootstrap_aws(prepare_config(spot_config))
    provider = AWSNodeProvider(config["provider"], config["cluster_name"])
    calls: list[dict[str, Any]] = []
    events = provider.ec2_fail_fast.meta.client.meta.events
    events.register("provide-client-params.ec2.RunInstances", lambda params, **_: calls.append(dict(params)))
    names = ("head", "g5-spot", "g5-on-demand")
    for name in names:
        provider.create_node(config["available_node_types"][name]["node_config"], {"ray-node-kind": "worker"}, 1)
    return dict(zip(names, calls, strict=True))


def test_what_is_rented_is_closed_encrypted_and_tagged(
    launched: dict[str, dict[str, Any]], account: Account, wanted: Wanted
) -> None:
    query = [{"Name": "group-name", "Values": [wanted.group]}]
    group = account("ec2").describe_security_groups(Filters=query)["SecurityGroups"][0]
    assert [rule["IpRanges"] for rule in group["IpPermissions"]] == [[{"CidrIp": HOME}], []]  # as `setup` left it
    for parameters in launched.values():
        assert parameters["SecurityGroupIds"] == [group["GroupId"]]
        assert parameters["MetadataOptions"]["HttpTokens"] == "required"
        assert [disk["Ebs"]["Encrypted"] for disk in parameters["BlockDeviceMappings"]] == [True]
        tags = {spec["ResourceType"]: spec["Tags"] for spec in parameters["TagSpecifications"]}
        assert {"Key": "project", "Value": "paramalloc"} in tags["instance"]
        assert {"Key": "project", "Value": "paramalloc"} in tags["volume"]


def test_only_the_spot_type_is_rented_as_spot(launched: dict[str, dict[str, Any]]) -> None:
    markets = {name: parameters.get("InstanceMarketOptions") for name, parameters in launched.items()}
    assert markets["head"] is markets["g5-on-demand"] is None
    assert markets["g5-spot"]["MarketType"] == "spot"


def test_the_head_may_start_just_these(launched: dict[str, dict[str, Any]], account: Account, wanted: Wanted) -> None:
    """The conditions of iam/head.json against what Ray really sends for a worker."""
    document = account("iam").get_role_policy(RoleName="paramalloc-head", PolicyName="paramalloc")["PolicyDocument"]
    starts = {s["Sid"]: s for s in document["Statement"]}["StartWorkersOfThisClusterOnly"]["Condition"]
    worker = launched["g5-spot"]
    tags = {tag["Key"]: tag["Value"] for tag in worker["TagSpecifications"][0]["Tags"]}
    assert starts["StringEquals"]["aws:RequestTag/ray-cluster-name"] == tags["ray-cluster-name"] == wanted.cluster
    assert starts["ArnEquals"]["ec2:InstanceProfile"].endswith(f"/{worker['IamInstanceProfile']['Name']}")
    assert not starts["ArnEquals"]["ec2:InstanceProfile"].endswith(launched["head"]["IamInstanceProfile"]["Name"])


def test_ray_begins_in_the_first_zone_that_the_doctor_names(
    launched: dict[str, dict[str, Any]], account: Account, wanted: Wanted
) -> None:
    first = usable_subnets(account, wanted)[0]
    assert first["AvailabilityZone"] == f"{REGION}a"
    assert {parameters["SubnetId"] for parameters in launched.values()} == {first["SubnetId"]}
