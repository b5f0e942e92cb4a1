"""A cluster that ends itself: all of it and nothing else, the head last, and only from its head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import ClusterError
from cluster.imds import MetadataClient
from cluster.teardown import OwnCluster, own_cluster, tear_down
from tests.cluster.conftest import REGION, Account
from tests.cluster.imds_mock import MACHINE, MetadataService


def launch(account: Account, cluster: str, kind: str) -> str:
    tags = [{"Key": "ray-cluster-name", "Value": cluster}, {"Key": "ray-node-type", "Value": kind}]
    answer = account("ec2").run_instances(
        ImageId="ami-1",
        InstanceType="g5.xlarge",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
    )
    return str(answer["Instances"][0]["InstanceId"])


def alive(account: Account) -> set[str]:
    query = [{"Name": "instance-state-name", "Values": ["running"]}]
    found = account("ec2").describe_instances(Filters=query)["Reservations"]
    return {instance["InstanceId"] for group in found for instance in group["Instances"]}


class Cluster:
    """A head and two workers, beside another cluster; `ended` gets what is terminated, call by call."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.head = launch(account, "ours", "head")
        self.workers = {launch(account, "ours", "worker") for _ in range(2)}
        self.others = {launch(account, "theirs", kind) for kind in ("head", "worker")}
        self.ended: list[set[str]] = []
        events = account("ec2").meta.events
        name = "provide-client-params.ec2.TerminateInstances"
        events.unregister(name, unique_id="ended")  # the clients outlive a test
        events.register(name, self._record, unique_id="ended")

    def _record(self, params: dict[str, Any], **_: Any) -> None:
        self.ended.append(set(params["InstanceIds"]))

    def tear_down(self, head: str, sleep: Any = lambda _: None) -> None:
        tear_down(OwnCluster("ours", REGION, head), lambda _: None, lambda _: self.account, sleep)


@pytest.fixture
def cluster(account: Account) -> Cluster:
    return Cluster(account)


def test_the_workers_go_first_then_the_head_and_nobody_else(cluster: Cluster) -> None:
    cluster.tear_down(cluster.head)
    assert cluster.ended == [cluster.workers, {cluster.head}]
    assert alive(cluster.account) == cluster.others


def test_a_worker_that_comes_late_goes_too(cluster: Cluster) -> None:
    late: set[str] = set()

    def sleep(_: float) -> None:
        if not late:
            late.add(launch(cluster.account, "ours", "worker"))

    cluster.tear_down(cluster.head, sleep)
    assert cluster.ended == [cluster.workers, late, {cluster.head}]
    assert alive(cluster.account) == cluster.others


def test_a_worker_that_was_on_its_way_when_none_was_left_is_not_left_behind(cluster: Cluster) -> None:
    """The first look finds none, for the autoscaler's request is still on its way."""
    cluster.account("ec2").terminate_instances(InstanceIds=sorted(cluster.workers))
    cluster.ended.clear()
    looks: list[str] = []

    def sleep(_: float) -> None:
        looks.append(launch(cluster.account, "ours", "worker") if len(looks) == 2 else "")

    cluster.tear_down(cluster.head, sleep)
    assert cluster.ended == [{looks[2]}, {cluster.head}]
    assert alive(cluster.account) == cluster.others


def test_an_autoscaler_that_never_rests_is_told_of_and_keeps_the_head(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match=r"workers: got new ones for 300 s, the last i-.*ray down"):
        cluster.tear_down(cluster.head, lambda _: launch(cluster.account, "ours", "worker"))
    assert cluster.head in alive(cluster.account)


def test_a_machine_that_is_not_the_head_ends_nothing(cluster: Cluster) -> None:
    for machine in (min(cluster.workers), min(cluster.others), "i-0123456789abcdef0"):
        with pytest.raises(ClusterError, match="not the head of ours"):
            cluster.tear_down(machine)
    assert cluster.ended == []


def test_a_refusal_is_one_line_and_leaves_the_head(cluster: Cluster) -> None:
    cluster.account.denied.add("TerminateInstances")
    with pytest.raises(ClusterError, match="TerminateInstances: got UnauthorizedOperation"):
        cluster.tear_down(cluster.head)
    assert cluster.head in alive(cluster.account)


def bootstrap(folder: Path, min_workers: int = 0, **provider: str) -> Path:
    file = folder / "ray_bootstrap_config.yaml"
    types = {"head": {}, "g5-spot": {"min_workers": min_workers}}
    config = {"cluster_name": "ours", "provider": provider, "available_node_types": types}
    file.write_text(yaml.safe_dump(config))
    return file


def test_a_head_knows_itself_by_ray_ups_file_and_the_metadata_service(tmp_path: Path) -> None:
    file = bootstrap(tmp_path, type="aws", region=REGION)
    with MetadataService() as service:
        found = own_cluster(file, MetadataClient(service.endpoint))
    assert found == OwnCluster("ours", REGION, MACHINE["instance-id"])


def test_elsewhere_it_is_one_clear_error(tmp_path: Path) -> None:
    head_only = "only on the head of a cluster that `ray up` started on AWS"
    with MetadataService() as service:
        client = MetadataClient(service.endpoint)
        for file in (tmp_path / "none.yaml", bootstrap(tmp_path, type="local")):
            with pytest.raises(ClusterError, match=head_only):
                own_cluster(file, client)
    with pytest.raises(ClusterError, match="no metadata service"):  # which has ended by now
        own_cluster(bootstrap(tmp_path, type="aws", region=REGION), client)


def test_a_cluster_that_keeps_workers_is_refused_before_anything_is_done(tmp_path: Path) -> None:
    file = bootstrap(tmp_path, min_workers=1, type="aws", region=REGION)
    with pytest.raises(ClusterError, match=r"min_workers above 0 of g5-spot.*set it to 0.*ray down"):
        own_cluster(file)
