"""Where Ray is: an address without an answer is refused in seconds."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from paramalloc.sweep.ray_session import _require_listener


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
        "from paramalloc.sweep.ray_session import ray_session\n"
        "try:\n    ray_session(False).__enter__()\n"
        "except UserError as error:\n    print(error)\n"
    )
    environment = {"RAY_ADDRESS": f"127.0.0.1:{closed_port}", "PATH": "/usr/bin:/bin"}
    said = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert f"RAY_ADDRESS: got '127.0.0.1:{closed_port}', where no Ray answers" in said.stdout, said.stderr
    assert said.stdout.rstrip().endswith("start it, or unset RAY_ADDRESS")
