"""The agent as a real process against a real HTTP service: flag, clean end, one per node, off EC2."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cluster import pending
from cluster.__main__ import main
from cluster.notice import read_record
from tests.cluster.imds_mock import MetadataService

# Nobody listens there: whatever Ray may run on this host is none of these agents' business.
NO_RAY = ["--address", "127.0.0.1:1", "--node-id", "00"]
PATIENCE_SECONDS = 30.0


class Node:
    """A simulated machine: a folder for its flag, and agents that watch a metadata service."""

    def __init__(self, folder: Path) -> None:
        self.flag = folder / "notice.json"
        self.agents: list[subprocess.Popen[str]] = []

    def start(self, endpoint: str, *options: str) -> subprocess.Popen[str]:
        environment = os.environ | {
            "PARAMALLOC_NOTICE_FILE": str(self.flag),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint,
        }
        command = [sys.executable, "-m", "cluster", "agent", *NO_RAY, *options]
        agent = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        self.agents.append(agent)
        return agent


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path / "node")
    yield node
    for agent in node.agents:
        if agent.poll() is None:
            agent.kill()
        agent.communicate()


def wait_until(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        threading.Event().wait(0.05)


def test_a_notice_raises_the_flag_a_withdrawal_lowers_it_and_sigterm_ends_the_agent(node: Node) -> None:
    deadline = float(int(time.time()) + 120)
    with MetadataService() as service:
        agent = node.start(service.endpoint)
        wait_until(lambda: read_record(node.flag.with_name("node.json")))
        assert pending(node.flag) is None
        service.spot_notice("terminate", deadline)
        wait_until(lambda: pending(node.flag))
        notice = pending(node.flag)
        assert notice
        assert (notice.action, notice.deadline, notice.kind) == ("terminate", deadline, "spot")
        service.withdraw()
        wait_until(lambda: not node.flag.exists())
        agent.send_signal(signal.SIGTERM)
        _, log = agent.communicate(timeout=PATIENCE_SECONDS)
    assert agent.returncode == 0
    for part in ("this is i-0123456789abcdef0, spot g5.xlarge", "spot notice: terminate", "withdrawn", "stopped"):
        assert sum(part in line for line in log.splitlines()) == 1
    assert not [token for token in service.tokens if token in log]


def test_a_hanging_service_does_not_keep_the_agent_from_ending(node: Node) -> None:
    with MetadataService() as service:
        service.mode = "hang"
        agent = node.start(service.endpoint)
        wait_until(lambda: service.requests)
        agent.send_signal(signal.SIGTERM)
        agent.communicate(timeout=PATIENCE_SECONDS)
    assert agent.returncode == 0


def test_a_newer_agent_takes_the_place_of_the_older(node: Node) -> None:
    with MetadataService() as service:
        old = node.start(service.endpoint)
        wait_until(lambda: service.requests)
        new = node.start(service.endpoint)
        assert old.wait(timeout=PATIENCE_SECONDS) == 0
        wait_until(lambda: node.flag.with_name("notice.json.lock").read_text() == str(new.pid))
        assert new.poll() is None


def test_off_ec2_once_says_so_and_is_content(node: Node) -> None:
    with MetadataService() as service:
        endpoint = service.endpoint
    agent = node.start(endpoint, "--once")
    _, log = agent.communicate(timeout=PATIENCE_SECONDS)
    assert agent.returncode == 0
    assert "not on EC2" in log
    assert not node.flag.exists()


@pytest.fixture
def _signals_as_before() -> Iterator[None]:
    """The agent takes SIGINT and SIGTERM for its whole process, which here is pytest's."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals_as_before")
def test_mistakes_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARAMALLOC_NOTICE_FILE", str(tmp_path / "node" / "notice.json"))
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "nonsense")
    assert main(["agent", "--once"]) == 2
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PARAMALLOC_NOTICE_FILE", str(tmp_path / "file" / "notice.json"))
    assert main(["agent", "--once"]) == 2
    assert main(["tell-ray", json.dumps({"instance": "i-1"})]) == 2
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 3
    for part, line in zip(("nonsense", "PARAMALLOC_NOTICE_FILE", "node.json"), shown, strict=True):
        assert part in line
