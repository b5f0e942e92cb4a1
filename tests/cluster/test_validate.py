"""Every shipped cluster file and policy is sound, and typical mistakes are found, each with its dotted place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import botocore.validate
import pytest
import yaml

from cluster import ClusterError
from cluster.__main__ import main
from cluster.aws_shape import check_shape, input_shape
from cluster.policy import MARKS, check_policy, fill
from cluster.validate import load, validate_file

CLUSTER = Path(__file__).parents[2] / "cluster"
SHIPPED = sorted([*CLUSTER.glob("*.yaml"), *CLUSTER.glob("iam/*.json")])


@pytest.fixture(scope="module")
def spot() -> dict[str, Any]:
    return load(CLUSTER / "spot.yaml")


def workers(config: dict[str, Any]) -> dict[str, Any]:
    return {name: kind for name, kind in config["available_node_types"].items() if name != config["head_node_type"]}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_file_is_sound(path: Path) -> None:
    assert [str(problem) for problem in validate_file(path)] == []


def test_there_is_something_shipped() -> None:
    assert {path.name for path in SHIPPED} >= {"spot.yaml", "local.yaml", "head.json", "worker.json", "trust.json"}


def test_the_machines_are_those_that_were_promised(spot: dict[str, Any]) -> None:
    kinds = workers(spot).values()
    spots = {kind["node_config"]["InstanceType"] for kind in kinds if "InstanceMarketOptions" in kind["node_config"]}
    twins = {
        kind["node_config"]["InstanceType"] for kind in kinds if "InstanceMarketOptions" not in kind["node_config"]
    }
    assert spots == twins == {"g4dn.xlarge", "g5.xlarge", "g6.xlarge", "p3.2xlarge", "p4d.24xlarge"}
    assert min(kind["priority"] for kind in kinds if "InstanceMarketOptions" in kind["node_config"]) > max(
        kind["priority"] for kind in kinds if "InstanceMarketOptions" not in kind["node_config"]
    )


def test_what_could_surprise_with_its_price_is_off(spot: dict[str, Any]) -> None:
    eights = [kind for kind in workers(spot).values() if kind["resources"]["GPU"] > 1]
    assert eights
    assert {kind["max_workers"] for kind in eights} == {0}


def test_only_named_things_leave_the_machine(spot: dict[str, Any]) -> None:
    """Of the repository what a node needs, of the home folder the token that nodes share: no .env, no results."""
    root = CLUSTER.parent
    for local in spot["file_mounts"].values():
        assert local == "~/.ray/auth_token" or (root / local).exists()
    assert not {".", "./", ".env", "results", ".git"} & set(spot["file_mounts"].values())


GONE = object()
TYPES, G5 = "available_node_types", "available_node_types/g5-spot"
MACHINE, DISK = f"{G5}/node_config", f"{G5}/node_config/BlockDeviceMappings/0/Ebs"
# Where the file is changed, to what, where the problem has to be found (with / for .) and a part of what it says.
MISTAKES: list[tuple[str, Any, str, str]] = [
    ("provider", GONE, "file", "'provider' is a required property"),
    ("max_worker", 3, "file", "max_worker"),
    (f"{G5}/prio", 1, G5, "prio"),
    (f"{G5}/resources/GPU", 0.5, f"{G5}/resources/GPU", "0.5"),
    ("head_node_type", "boss", "file", "head_node_type"),
    ("provider/region", "us-east", "provider/region", "us-east"),
    ("provider/region", "eu-west-1", "provider/availability_zone", "us-east-1a"),
    ("provider/cache_stopped_nodes", GONE, "provider/cache_stopped_nodes", "cost on"),
    ("provider/security_group", GONE, "provider/security_group/GroupName", "whole world"),
    (f"{MACHINE}/MetadataOptions/HttpToken", "required", f"{MACHINE}/MetadataOptions/HttpToken", "mean HttpTokens?"),
    (f"{MACHINE}/MetadataOptions/HttpTokens", "needed", f"{MACHINE}/MetadataOptions/HttpTokens", "'needed' is no"),
    (f"{MACHINE}/MetadataOptions", GONE, f"{MACHINE}/MetadataOptions/HttpTokens", "not 'required'"),
    (f"{MACHINE}/InstanceType", "g5.xlage", f"{MACHINE}/InstanceType", "mean g5.xlarge?"),
    (f"{MACHINE}/InstanceMarketOptions/MarketType", "Spot", f"{MACHINE}/InstanceMarketOptions/MarketType", "'Spot'"),
    (f"{MACHINE}/InstanceMarketOptions", "spot", f"{MACHINE}/InstanceMarketOptions", "(str)"),
    (f"{DISK}/VolumeSize", "100", f"{DISK}/VolumeSize", "type integer"),
    (f"{DISK}/Encrypted", GONE, f"{DISK}/Encrypted", "not true"),
    (f"{MACHINE}/BlockDeviceMappings", GONE, f"{MACHINE}/BlockDeviceMappings", "unencrypted"),
    (f"{MACHINE}/BlockDeviceMappings", {}, f"{MACHINE}/BlockDeviceMappings", "give a list"),
    (f"{MACHINE}/TagSpecifications/1", GONE, f"{MACHINE}/TagSpecifications", "volume"),
    (f"{MACHINE}/IamInstanceProfile", GONE, f"{MACHINE}/IamInstanceProfile", "nothing"),
    (f"{TYPES}/g5-on-demand", GONE, G5, "no on-demand type with g5.xlarge"),
    (f"{TYPES}/g5-on-demand/priority", 95, f"{G5}/priority", "not above"),
    (f"{G5}/labels", {}, f"{G5}/labels/ray.io/market-type", "None on a spot machine"),
    (
        f"{TYPES}/head/node_config/InstanceMarketOptions",
        {"MarketType": "spot"},
        f"{TYPES}/head/node_config/InstanceMarketOptions",
        "a spot head",
    ),
    (f"{TYPES}/v100-spot/max_workers", 2, f"{TYPES}/v100-spot/worker_setup_commands[0]", "TORCH_INDEX_URL"),
    ("setup_commands", [], "setup_commands", "another version"),
    ("worker_start_ray_commands/2", GONE, "worker_start_ray_commands", "no node agent"),
    (
        "head_start_ray_commands/1",
        "ray start --dashboard-host=0.0.0.0",
        "head_start_ray_commands[1]",
        "every interface",
    ),
]


def put(config: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("/"))
    inner: Any = config
    for part in parents:
        inner = inner[part]
    if value is GONE:
        del inner[last]
    else:
        inner[last] = value


@pytest.mark.parametrize(("path", "value", "place", "part"), MISTAKES)
def test_a_mistake_is_found_at_its_place(
    spot: dict[str, Any], tmp_path: Path, path: str, value: Any, place: str, part: str
) -> None:
    config = json.loads(json.dumps(spot))  # a deep copy, in which nothing is shared as YAML's anchors are
    put(config, path, value)
    (tmp_path / "spot.yaml").write_text(yaml.safe_dump(config))
    problems = validate_file(tmp_path / "spot.yaml")
    place = place.replace("/0/", "[0]/").replace("/", ".").replace("ray.io.", "ray.io/")
    assert place in {problem.place for problem in problems if part in str(problem)}, [str(p) for p in problems]


def test_v100_machines_may_be_switched_on_once_the_address_is_given(spot: dict[str, Any], tmp_path: Path) -> None:
    config = json.loads(json.dumps(spot))
    kind = config[TYPES]["v100-spot"]
    (command,) = kind["worker_setup_commands"]
    kind |= {
        "max_workers": 2,
        "worker_setup_commands": [command.replace("TORCH_INDEX_URL", "https://example.org/cu126")],
    }
    (tmp_path / "spot.yaml").write_text(yaml.safe_dump(config))
    assert validate_file(tmp_path / "spot.yaml") == []


def test_wrong_keys_and_types_are_those_that_botocore_finds(spot: dict[str, Any]) -> None:
    shape, validator = input_shape("ec2", "RunInstances"), botocore.validate.ParamValidator()
    good = spot[TYPES]["g5-spot"]["node_config"] | {"MinCount": 1, "MaxCount": 1}
    bad: list[dict[str, Any]] = [
        {"Instancetype": "x"},
        {"MinCount": "1"},
        {"EbsOptimized": "yes"},
        {"SecurityGroupIds": "sg"},
        {"Placement": []},
        {"Placement": {"Zone": "a"}},
        {"BlockDeviceMappings": [{"Ebs": {"Iops": "many"}}]},
        {"MinCount": True},
    ]
    assert not list(check_shape(good, shape, "x"))
    assert not validator.validate(good, shape).has_errors()
    for change in bad[:-1]:
        assert list(check_shape(good | change, shape, "x")), change
        assert validator.validate(good | change, shape).has_errors(), change
    assert list(check_shape(good | bad[-1], shape, "x"))  # stricter: a flag is no number


def test_a_filled_policy_has_no_mark_left() -> None:
    values = dict.fromkeys(MARKS, "value") | {"PREFIX": "results"}
    for name in ("head", "worker", "trust"):
        assert "@" not in json.dumps(fill(name, values))
    assert "arn:aws:s3:::value/results/*" in json.dumps(fill("worker", values))
    with pytest.raises(ClusterError, match="@BUCKET@"):
        fill("worker", values | {"BUCKET": ""})


def statement(**fields: Any) -> dict[str, Any]:
    base = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/results/*"}
    return {"Version": "2012-10-17", "Statement": [base | fields]}


def listing(**condition: Any) -> dict[str, Any]:
    return statement(Action="s3:ListBucket", Resource="arn:aws:s3:::bucket", **condition)


def like(prefix: str) -> dict[str, Any]:
    return {"StringLike": {"s3:prefix": prefix}}


@pytest.mark.parametrize(
    ("policy", "place"),
    [
        (statement(Resource="*"), "Statement[0].Resource"),
        (statement(Resource=["arn:aws:s3:::bucket/*", "*"], Action="s3:PutObject"), "Statement[0].Resource"),
        (statement(Resource="arn:aws:s3:::*"), "Statement[0].Resource"),
        (statement(Resource="bucket"), "Statement[0].Resource"),
        (statement(Resource=[]), "Statement[0].Resource"),
        (statement(Action="s3:*"), "Statement[0].Action"),
        (statement(Action="*"), "Statement[0].Action"),
        (statement(Effect="allow"), "Statement[0].Effect"),
        (listing(), "Statement[0].Condition"),
        (listing(Condition=["s3:prefix"]), "Statement[0].Condition"),
        (listing(Condition={"StringLikeIfExists": {"s3:prefix": "results/*"}}), "Statement[0].Condition"),
        (listing(Condition=like("")), "Statement[0].Condition"),
        (listing(Condition=like("*")), "Statement[0].Condition"),
        (listing(Condition=like("*/*")), "Statement[0].Condition"),
        (listing(Condition=like("results*")), "Statement[0].Condition"),
        (statement(Sid="Read", Actions=["s3:GetObject"]), "Statement[0] (Read).Actions"),
        (statement() | {"Version": "2008-10-17"}, "Version"),
        ({"Version": "2012-10-17", "Statement": {}}, "Statement"),
    ],
)
def test_a_policy_that_is_wider_than_it_must_be_or_malformed(policy: dict[str, Any], place: str) -> None:
    assert place in [problem.place for problem in check_policy(policy)]


def test_listing_is_narrowed_to_a_folder() -> None:
    assert check_policy(listing(Condition=like("results/*"))) == []


def test_describing_has_no_narrower_resource() -> None:
    assert check_policy(statement(Action="ec2:DescribeInstances", Resource="*")) == []


@pytest.mark.parametrize(
    ("content", "part"), [("a: [", "line 1"), ("- 1", "got list"), ("a: !!python/name:os.x", "tag")]
)
def test_a_file_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, part: str) -> None:
    (tmp_path / "x.yaml").write_text(content)
    assert main(["validate", str(tmp_path / "x.yaml")]) == 2
    shown = capsys.readouterr().err
    assert part in shown
    assert shown.count("\n") == 1


def test_the_command_says_ok_or_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = CLUSTER / "iam" / "worker.json", tmp_path / "bad.json"
    bad.write_text(json.dumps(statement(Resource="*")))
    assert main(["validate", str(good)]) == 0
    assert main(["validate", str(good), str(bad)]) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{bad}: Statement[0].Resource: '*' for s3:GetObject")
    assert main(["validate", str(tmp_path / "none.yaml")]) == 2
