"""An AWS account inside this process: moto, and hand-made answers where moto has none."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import moto
import pytest

from cluster.validate import load
from cluster.wanted import Storage, Wanted, wanted_by

SPOT_FILE = Path(__file__).parents[2] / "cluster" / "spot.yaml"
REGION, SECRET = "us-east-1", "planted-secret-0123456789"
SERVICES = ("sts", "ec2", "ssm", "iam", "s3", "service-quotas")


class Account:
    """boto3 clients of a fresh account, by call; the public attributes can be changed by a test.

    moto knows neither quotas of EC2 nor the public image parameters nor IAM's simulator, and gives every image a
    disk of 15 GB. Those calls are answered here, inside boto3: their parameters are still checked against the shapes
    of the real service.
    """

    def __init__(self, clients: dict[str, Any]) -> None:
        self.quota = dict.fromkeys(("L-34B43A08", "L-1216C47A", "L-3819A6DF", "L-DB2E81BA"), 256.0)
        self.refused: set[str] = set()  # actions that the simulator refuses
        self.denied: set[str] = set()  # operations that the caller may not use
        self._clients = clients
        self.image: str | None = "ami-0123456789abcdef0"  # what the public parameters say
        self.image_gib: int | None = 8  # None: there is no such image

    def __call__(self, service: str) -> Any:
        client = self._clients[service]
        client.meta.events.unregister("before-call", unique_id="account")
        client.meta.events.register("before-call", self._answer, unique_id="account")
        return client

    def _answer(self, model: Any, params: Any, **_: Any) -> tuple[Any, dict[str, Any]] | None:
        if model.name in self.denied:
            return _Status(403), {"Error": {"Code": "UnauthorizedOperation", "Message": "no"}}
        answer = getattr(self, f"_{model.name}", None)
        return (_Status(200), answer(params)) if answer else None

    def _GetServiceQuota(self, params: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        body = params["body"].decode() if isinstance(params["body"], bytes) else params["body"]
        code = next(code for code in self.quota if code in body)
        return {"Quota": {"Value": self.quota[code]}}

    def _GetParameters(self, params: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"Parameters": [{"Value": self.image}] if self.image else []}

    def _DescribeImages(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if self.image_gib is None:
            return {"Images": []}
        disks = [{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": self.image_gib}}]
        about = {"ImageId": self.image, "State": "available", "RootDeviceName": "/dev/sda1"}
        return {"Images": [about | {"BlockDeviceMappings": disks}]}

    def _SimulatePrincipalPolicy(self, params: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        actions = [value for key, value in params["body"].items() if key.startswith("ActionNames")]
        decisions = {action: "implicitDeny" if action in self.refused else "allowed" for action in actions}
        return {"EvaluationResults": [{"EvalActionName": a, "EvalDecision": d} for a, d in decisions.items()]}

    def _CreateServiceLinkedRole(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        """moto would name it after the service, AWS names it after EC2."""
        self("iam").create_role(RoleName="AWSServiceRoleForEC2Spot", AssumeRolePolicyDocument="{}")
        return {}


class _Status:
    def __init__(self, status_code: int) -> None:
        self.status_code = status_code


@pytest.fixture(scope="session")
def clients() -> dict[str, Any]:
    """Made once: each takes a good part of a second. moto answers them whenever it is switched on."""
    session = boto3.Session("planted-key-id", SECRET, region_name=REGION)
    return {service: session.client(service) for service in SERVICES}


@pytest.fixture
def account(clients: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Account]:
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "planted-key-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "ray" / "auth_token"))
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # a second less per test
    with moto.mock_aws():
        yield Account(clients)


@pytest.fixture
def spot_config() -> dict[str, Any]:
    return copy.deepcopy(load(SPOT_FILE))


@pytest.fixture
def wanted(spot_config: dict[str, Any]) -> Wanted:
    return wanted_by(spot_config)


@pytest.fixture
def storage() -> Storage:
    return Storage.parse("s3://paramalloc-results/sweeps")
