"""A notice on one of two real Ray nodes: that node drains with the real deadline, the other knows nothing of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import ClusterError, pending
from cluster.drain import read_records, tell_ray
from cluster.notice import NodeRecord
from tests.cluster.imds_mock import LAUNCHED_AT, MetadataService

pytestmark = pytest.mark.slow
PATIENCE_SECONDS = 60.0


def wait_until(condition: Callable[[], Any]) -> Any:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < give_up, "waited in vain"
        threading.Event().wait(0.1)
    return value


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Any]:
    """A head and one worker, which has an instance id as the autoscaler gives it."""
    folder = Path(tempfile.mkdtemp(prefix="pm"))  # short: Ray's sockets lie inside, and their paths have a limit
    (folder / "ray").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        yield from _cluster_of_two()
    shutil.rmtree(folder, ignore_errors=True)


def _cluster_of_two() -> Iterator[Any]:
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        cluster.worker = cluster.add_node(
            num_cpus=1,
            object_store_memory=80 * 1024**2,
            include_dashboard=False,
            env_vars={"RAY_CLOUD_INSTANCE_ID": "i-0123456789abcdef0"},
        )
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_a_machine_that_ray_does_not_know_is_refused(ray_cluster: Any) -> None:
    with pytest.raises(ClusterError, match="live Ray nodes on this machine; give --node-id"):
        tell_ray(NodeRecord(instance_id="i-other"), ray_cluster.address)


def test_a_notice_drains_its_node_and_no_other(ray_cluster: Any, tmp_path: Path) -> None:
    import ray
    from ray._private.state import state

    @ray.remote(num_cpus=1)
    class Busy:  # An idle node would be gone at once; one with work keeps its drain visible.
        def node(self) -> str:
            return str(ray.get_runtime_context().get_node_id())

    busy = Busy.remote()
    worker = ray.get(busy.node.remote())
    assert worker == ray_cluster.worker.node_id
    deadline = float(int(time.time()) + 300)
    flag = tmp_path / "notice.json"
    with MetadataService() as service:
        agent = _start_agent(service, flag, ray_cluster.address)
        try:
            record = wait_until(lambda: read_records(ray_cluster.address).get(worker))
            assert record == NodeRecord("i-0123456789abcdef0", "g5.xlarge", "us-east-1b", "spot", LAUNCHED_AT)
            assert state.get_draining_nodes() == {}
            service.spot_notice("terminate", deadline)
            draining = wait_until(state.get_draining_nodes)
            published = wait_until(lambda: read_records(ray_cluster.address)[worker].notice)
        finally:
            agent.terminate()
            _, log = agent.communicate(timeout=PATIENCE_SECONDS)
    assert draining == {worker: int(deadline * 1000)}
    notice = pending(flag)
    assert notice
    assert notice == published
    assert notice.deadline == deadline
    assert agent.returncode == 0
    assert log.count("spot notice") == 1
    assert ray.get(busy.node.remote()) == worker


def _start_agent(service: MetadataService, flag: Path, address: str) -> subprocess.Popen[str]:
    environment = os.environ | {
        "PARAMALLOC_NOTICE_FILE": str(flag),
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": service.endpoint,
    }
    command = [sys.executable, "-m", "cluster", "agent", "--address", address]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
