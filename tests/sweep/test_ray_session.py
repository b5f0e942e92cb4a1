"""Where Ray is: an address without an answer is refused in seconds."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from benchmarks.local_cluster import LocalCluster
from paramalloc.sweep.machines.ray_session import Cluster, _require_listener, autoscaler_brings_gpus

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nothing_listens_is_found_out_without_ray(scheme: str, closed_port: int) -> None:
    with pytest.raises(OSError, match="refused"):
        _require_listener(f"{scheme}127.0.0.1:{closed_port}")


def test_an_address_with_a_listener_is_left_to_ray(closed_port: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        _require_listener(f"127.0.0.1:{server.getsockname()[1]}")
    _require_listener("auto")


def test_the_message_names_the_address_and_what_to_do(closed_port: int) -> None:
    """In a process of its own, which has no Ray yet."""
    script = (
        "from paramalloc.errors import UserError\n"
        "from paramalloc.sweep.machines.ray_session import RaySession\n"
        "try:\n    RaySession(False).__enter__()\n"
        "except UserError as error:\n    print(error)\n"
    )
    environment = {"RAY_ADDRESS": f"127.0.0.1:{closed_port}", "PATH": "/usr/bin:/bin"}
    said = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert f"RAY_ADDRESS: got '127.0.0.1:{closed_port}', where no Ray answers" in said.stdout, said.stderr
    assert said.stdout.rstrip().endswith("start it, or unset RAY_ADDRESS")


def test_a_cluster_has_gpus_where_one_is_or_where_the_autoscaler_can_bring_one() -> None:
    assert not Cluster(cpus=0, gpus=0, nodes=1, dashboard=None).has_gpus
    assert Cluster(cpus=0, gpus=0, nodes=1, dashboard=None, brings_gpus=True).has_gpus
    assert Cluster(cpus=4, gpus=2, nodes=1, dashboard=None).has_gpus


def test_what_the_autoscaler_can_bring_is_read_from_the_cluster_file(tmp_path: Path) -> None:
    assert autoscaler_brings_gpus(REPOSITORY / "cluster" / "spot.yaml")
    assert not autoscaler_brings_gpus(REPOSITORY / "cluster" / "local.yaml")
    assert not autoscaler_brings_gpus(tmp_path / "missing.yaml")
    switched_off = tmp_path / "off.yaml"
    switched_off.write_text("available_node_types: {p4: {max_workers: 0, resources: {CPU: 96, GPU: 8}}}")
    assert not autoscaler_brings_gpus(switched_off)


@pytest.mark.long
def test_a_cluster_of_a_test_leaves_the_ray_of_the_whole_session_as_it_was(local_ray: None) -> None:
    ray.experimental.internal_kv._internal_kv_put(b"whose", b"the session's", namespace="test")
    with LocalCluster():
        assert ray.experimental.internal_kv._internal_kv_get(b"whose", namespace="test") == b"the session's"
    assert ray.experimental.internal_kv._internal_kv_get(b"whose", namespace="test") == b"the session's"
