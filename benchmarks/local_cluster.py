"""A Ray cluster on this machine whose nodes come, go, and get spot notices, and the driver of a sweep on it.

Always holds: what it takes away is ended by its number; nothing of it is left when the `with` block ends.

with LocalCluster() as cluster:            # a head that holds no trial
    node = cluster.add()                   # from the main thread, as Ray wants it
    driver = Driver(sweep_file, folder, cluster.address)
    driver.wait_for(lambda: "trial_start" in driver.events())
    cluster.notice(node); cluster.kill(node); cluster.withdraw(node)
    code, said = driver.end()
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray  # brings psutil along

import psutil  # type: ignore[import-untyped]  # isort: skip

from cluster.notice import Notice, write_notice
from paramalloc.files import read_jsonl
from paramalloc.results import ResultsFolder

TUNE_MAIN = Path(__file__).parents[1] / "tune_main.py"
PATIENCE_SECONDS = 120
SHUT_DOWN_SECONDS = 20


class LocalCluster:
    """Nodes of one CPU each beside a head of none; every node has a notice file of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pm"))  # short: Ray's sockets lie inside, paths have a limit

    def __enter__(self) -> LocalCluster:
        from ray.cluster_utils import Cluster

        (self.folder / "ray").mkdir()
        self._before = os.environ.get("RAY_TMPDIR")
        os.environ["RAY_TMPDIR"] = str(self.folder)
        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.address: str = self._cluster.address
        _keep_own_ray()
        return self

    def __exit__(self, *error: Any) -> None:
        self._cluster.shutdown()
        _keep_own_ray()
        if self._before is None:
            del os.environ["RAY_TMPDIR"]
        else:
            os.environ["RAY_TMPDIR"] = self._before
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def head(self) -> Any:
        return self._cluster.head_node

    def add(self, cpus: int = 1) -> Any:
        """A new node; its `node_id` is the one of events.jsonl."""
        flag = Path(tempfile.mkstemp(dir=self.folder, suffix=".json")[1])
        flag.unlink()
        node = self._cluster.add_node(
            num_cpus=cpus,
            object_store_memory=80 * 1024**2,
            include_dashboard=False,
            env_vars={"PARAMALLOC_NOTICE_FILE": str(flag)},
        )
        node.flag = flag
        return node

    def notice(self, node: Any, seconds: float = 120.0) -> None:
        """What the agent does first when EC2 gives notice."""
        now = time.time()
        write_notice(node.flag, Notice("terminate", now + seconds, now))

    def withdraw(self, node: Any) -> None:
        node.flag.unlink()

    def kill(self, node: Any) -> None:
        """The machine is gone: SIGKILL to the node's processes and all of their children."""
        for process in processes(node):
            process.kill()
        self._cluster.remove_node(node, allow_graceful=False)

    def shut_down(self, node: Any) -> None:
        """The machine goes as EC2 takes one: SIGTERM, some seconds to end in, and the rest is killed."""
        there = processes(node)
        for process in there:
            process.terminate()
        for process in psutil.wait_procs(there, timeout=SHUT_DOWN_SECONDS)[1]:
            process.kill()
        self._cluster.remove_node(node, allow_graceful=False)


def _keep_own_ray() -> None:
    """A process has one client for Ray's key-value store; starting or ending a cluster takes it from its own Ray."""
    if ray.is_initialized():
        ray.experimental.internal_kv._initialize_internal_kv(ray._private.worker.global_worker.gcs_client)


def processes(node: Any) -> list[psutil.Process]:
    parents = [psutil.Process(info.process.pid) for infos in node.all_processes.values() for info in infos]
    return [*parents, *(child for parent in parents for child in parent.children(recursive=True))]


class Driver:
    """`tune_main.py` on a cluster, in a process of its own."""

    def __init__(self, sweep: Path, folder: ResultsFolder, address: str) -> None:
        self.folder = folder
        command = [sys.executable, str(TUNE_MAIN), str(sweep), "--results", str(folder.root)]
        environment = os.environ | {"RAY_ADDRESS": address, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        return [row for row in read_jsonl(self.folder.events) if kind in (None, row["event"])]

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """What `condition` gives as soon as it gives something.

        Errors: RuntimeError when the driver ends first, with what it said; TimeoutError after two minutes.
        """
        give_up = time.monotonic() + PATIENCE_SECONDS
        while not (value := condition()):
            if self.process.poll() is not None:
                raise RuntimeError(f"the driver has ended: {self.process.communicate()[0]}")
            if time.monotonic() > give_up:
                raise TimeoutError("waited in vain for a driver")
            time.sleep(0.02)
        return value

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Its exit code and what it printed."""
        said, _ = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, said
