"""Machines rented from an EC2 on loopback: moto's server, with a layer before it that answers recorded spot prices.

with RentedCluster(cluster, markets) as ec2:     # `cluster` is a `local_cluster.LocalCluster`
    driver = Driver(sweep, folder, cluster.address)          # finds EC2 through the environment
    machine = ec2.launch("g2.2xlarge", "us-east-1a")         # an instance, a Ray node, and its agent
    machine.notice(); machine.take(); machine.began, machine.ended
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from io import BytesIO
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

import boto3
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app

from benchmarks.local_cluster import PATIENCE_SECONDS, LocalCluster
from tests.cluster.imds_mock import META, MetadataService
from tests.loopback import LoopbackServer

Change = tuple[float, str]  # Unix seconds, dollars per hour as text
Markets = Mapping[tuple[str, str], list[Change]]  # price changes by (instance type, zone), oldest first
_AWS_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",
}


class PriceLayer:
    """A WSGI application around moto's: it answers DescribeSpotPriceHistory as EC2 does.

    The price list, which moto has not, it refuses.
    """

    def __init__(self, markets: Markets, behind: Callable[..., Iterable[bytes]]) -> None:
        self.markets, self._behind = markets, behind
        self.requests: list[dict[str, str]] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        asked = {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}
        if asked.get("Action") == "DescribeSpotPriceHistory":
            self.requests.append(asked)
            start_response("200 OK", [("Content-Type", "text/xml")])
            return [self._answer(asked).encode()]
        if environ.get("HTTP_X_AMZ_TARGET", "").startswith("AWSPriceListService"):
            start_response("400 Bad Request", [("Content-Type", "application/x-amz-json-1.1")])
            return [b'{"__type": "AccessDeniedException"}']
        return self._behind(environ | {"wsgi.input": BytesIO(body)}, start_response)

    def _answer(self, asked: Mapping[str, str]) -> str:
        since, until = (datetime.fromisoformat(asked[name]).timestamp() for name in ("StartTime", "EndTime"))
        items = [
            f"<item><instanceType>{kind}</instanceType><productDescription>Linux/UNIX</productDescription>"
            f"<spotPrice>{escape(usd)}</spotPrice><availabilityZone>{zone}</availabilityZone>"
            f"<timestamp>{datetime.fromtimestamp(moment, UTC).isoformat()}</timestamp></item>"
            for (kind, zone), changes in self.markets.items()
            if kind == asked["InstanceType.1"]
            for moment, usd in in_force(changes, since, until)
        ]
        space = "http://ec2.amazonaws.com/doc/2016-11-15/"
        return (
            f'<DescribeSpotPriceHistoryResponse xmlns="{space}"><spotPriceHistorySet>{"".join(items)}'
            "</spotPriceHistorySet><nextToken/></DescribeSpotPriceHistoryResponse>"
        )


def in_force(changes: list[Change], since: float, until: float) -> list[Change]:
    """The changes within the time span, and the one in force at its start."""
    times = [moment for moment, _ in changes]
    return changes[max(0, bisect_right(times, since) - 1) : bisect_right(times, until)]


class Machine:
    """An instance of the mock EC2 that is a node of the Ray cluster, watched by its own node agent."""

    def __init__(self, cluster: LocalCluster, ec2: Any, instance_type: str, zone: str) -> None:
        self._cluster, self._ec2 = cluster, ec2
        (instance,) = ec2.run_instances(
            ImageId="ami-12345678",
            InstanceType=instance_type,
            Placement={"AvailabilityZone": zone},
            InstanceMarketOptions={"MarketType": "spot"},
            MinCount=1,
            MaxCount=1,
        )["Instances"]
        self.began, self.ended = time.time(), float("nan")
        self._id = instance["InstanceId"]
        self._metadata = MetadataService()
        about = {"instance-id": self._id, "instance-type": instance_type, "placement/availability-zone": zone}
        self._metadata.answers.update({META + name: value for name, value in about.items()})
        self._metadata.launch(instance["LaunchTime"].timestamp())
        self._metadata.__enter__()
        self.node = cluster.add()
        command = [sys.executable, "-m", "cluster", "agent", "--address", cluster.address, "--node-id", self.name]
        environment = os.environ | {
            "PARAMALLOC_NOTICE_FILE": str(self.node.flag),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self._metadata.endpoint,
        }
        self._agent = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    @property
    def name(self) -> str:
        return str(self.node.node_id)

    def notice(self) -> None:
        """EC2 will take it in two minutes."""
        self._metadata.spot_notice("terminate", time.time() + 120.0)

    def take(self) -> None:
        """EC2 takes it, with all that runs there."""
        self._agent.kill()
        self._agent.wait(PATIENCE_SECONDS)
        self.ended = time.time()
        self._cluster.shut_down(self.node)
        self._ec2.terminate_instances(InstanceIds=[self._id])
        self._metadata.__exit__(None, None, None)


class RentedCluster:
    """An EC2 on loopback that is the only one this process and its children know; a context manager.

    Args:
        cluster: where its machines join.
        markets: what they cost.
    """

    def __init__(self, cluster: LocalCluster, markets: Markets) -> None:
        self.cluster, self.prices = cluster, PriceLayer(markets, DomainDispatcherApplication(create_backend_app))
        self._stack = ExitStack()

    def __enter__(self) -> RentedCluster:
        patch = self._stack.enter_context(pytest.MonkeyPatch.context())
        server = self._stack.enter_context(LoopbackServer(self.prices))
        for name, value in (_AWS_ENVIRONMENT | {"AWS_ENDPOINT_URL": server.endpoint}).items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        self._ec2 = boto3.client("ec2")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def launch(self, instance_type: str, zone: str) -> Machine:
        """A spot instance that boots and joins; to be called from the main thread, as Ray wants it."""
        return Machine(self.cluster, self._ec2, instance_type, zone)
