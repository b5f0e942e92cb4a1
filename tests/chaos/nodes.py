"""The machines of a chaos run: Ray nodes of one CPU on this machine, taken away in every way that a cloud knows.

Always holds: after `restore` there are exactly two healthy nodes beside a head that holds no trial, and nothing else
of what was started here; every process is ended by its number.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import ray  # noqa: F401 brings psutil along

import psutil  # isort: skip

from benchmarks.local_cluster import LocalCluster, processes
from tests.cluster.imds_mock import MetadataService

NODES = 2
# As the cluster files set them for the head: a silent machine is given up after some nine seconds instead of 64.
HEALTH_CHECKS = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
END_SECONDS = 30.0


class Machines:
    """Two nodes and their head. Nodes that a fault has touched are exchanged by `restore`."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self._tainted: set[str] = set()
        self._silent_nodes: list[Any] = []
        self._silent: list[psutil.Process] = []
        self._agents: list[subprocess.Popen[bytes]] = []
        self._services: list[MetadataService] = []
        self._start()

    def _start(self) -> None:
        os.environ.update(HEALTH_CHECKS)
        self.cluster = LocalCluster().__enter__()
        for name in HEALTH_CHECKS:
            del os.environ[name]
        self.restore()

    @property
    def address(self) -> str:
        return self.cluster.address

    def add(self) -> Any:
        self.nodes.append(node := self.cluster.add())
        return node

    def kill(self, node: Any) -> None:
        """SIGKILL to all of its processes."""
        self.nodes.remove(node)
        self.cluster.kill(node)

    def silence(self, node: Any, raylet_alone: bool = False) -> None:
        """SIGSTOP to all of its processes: the machine hangs, or its network is cut; or to its raylet alone."""
        self.nodes.remove(node)
        self._silent_nodes.append(node)
        for process in _raylet(node) if raylet_alone else processes(node):
            process.send_signal(signal.SIGSTOP)
            self._silent.append(process)

    def unsilence(self) -> None:
        for process in self._silent:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGCONT)

    def notice(self, node: Any, seconds: float = 120.0) -> None:
        """The flag alone, as the agent writes it."""
        self._tainted.add(node.node_id)
        self.cluster.notice(node, seconds)

    def withdraw(self, node: Any) -> None:
        self.cluster.withdraw(node)

    def watch(self, node: Any) -> MetadataService:
        """Start the real node agent on the node; returns the metadata service that it asks."""
        self._tainted.add(node.node_id)
        service = MetadataService().__enter__()
        self._services.append(service)
        environment = os.environ | {
            "PARAMALLOC_NOTICE_FILE": str(node.flag),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": service.endpoint,
        }
        command = [sys.executable, "-m", "cluster", "agent", "--address", self.address, "--node-id", node.node_id]
        self._agents.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        return service

    def lose_head(self) -> None:
        """SIGKILL to the head and all nodes; then another cluster of the same size elsewhere."""
        for node in list(self.nodes):
            self.kill(node)
        for process in processes(self.cluster.head):
            process.kill()
        self.cluster.__exit__(None, None, None)
        self._start()

    def restore(self) -> None:
        for agent in self._agents:
            agent.terminate()
            agent.wait(END_SECONDS)
        for service in self._services:
            service.__exit__(None, None, None)
        self._agents, self._services = [], []
        for node in list(self.nodes):
            if node.node_id in self._tainted or node.dead_processes():
                self.kill(node)
        self._tainted.clear()
        while len(self.nodes) < NODES:
            self.add()

    def stragglers(self) -> list[str]:
        """Workers that still train half a minute after the sweep's end, and silent machines that do not end."""
        self.unsilence()
        wait_until(lambda: not self._left(), END_SECONDS)
        left = [_name(process) for process in self._left()]
        for process in self._left():
            process.kill()
        for node in self._silent_nodes:
            self.cluster.kill(node)
        self._silent, self._silent_nodes = [], []
        return left

    def _left(self) -> list[psutil.Process]:
        busy = [process for node in self.nodes for process in workers(node)]
        return busy + [process for process in self._silent if _lives(process)]

    def close(self) -> None:
        self.unsilence()
        self.restore()
        self.cluster.__exit__(None, None, None)


def wait_until(condition: Callable[[], Any], seconds: float) -> Any:
    """What `condition` gives as soon as it gives something, or its last answer when time is up."""
    until = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < until:
        time.sleep(0.05)
    return value


def workers(node: Any) -> list[psutil.Process]:
    """The processes on the node that hold a trial."""
    return [process for process in processes(node) if _name(process).startswith("ray::ImplicitFunc")]


def _raylet(node: Any) -> list[psutil.Process]:
    return [process for process in processes(node) if _name(process).split(" ")[0].endswith("/raylet")]


def _name(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
