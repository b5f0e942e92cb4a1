"""One evening with a spot cluster, told by commands: setup, up, a sweep that loses a machine, the end, up and down.

Always holds: what is done, a user types or EC2 does; nothing is asserted here but that each step comes to its end
(`test_spot_cluster.py` looks at what came of it); each step's time is printed; nothing is left running.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import ray  # noqa: F401 brings psutil along
import yaml

import psutil  # isort: skip

from paramalloc.files import read_jsonl
from paramalloc.results import RANKING, ResultsFolder
from tests.cluster.e2e.ec2 import Aws
from tests.cluster.e2e.laptop import KEY_ID, SECRET, STORAGE, Laptop, aws_settings
from tests.cluster.e2e.machines import Machines, Paused, remove

SWEEP, UNDISTURBED = (Path(__file__).with_name(name) for name in ("sweep.yaml", "undisturbed.py"))
SSH_FROM = "203.0.113.7"
TRIALS = ("base", "wide")  # side by side, each on a worker of its own; the first is disturbed
NOTICE_SECONDS = 5.0  # EC2 gives two minutes
HURRIED = {
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",  # seconds; Ray's own is 5
    "RAY_prestart_worker_first_driver": "0",  # four idle workers per machine, of which one would be used
}
PATIENCE_SECONDS = 600.0  # many times what any step takes on a quiet machine


@dataclass
class Outcome:
    """What came of it. `launches`: the parameters of each RunInstances call; `events`: the sweep's diary."""

    undisturbed: ResultsFolder
    results: ResultsFolder
    launches: list[dict[str, Any]] = field(default_factory=list)
    reclaimed: str = ""  # the Ray node that EC2 took
    meanwhile: dict[str, str] = field(default_factory=dict)  # what commands said while the sweep ran
    early_report: str = ""  # the page that `report` made of what S3 had then
    down: tuple[list[str], list[str]] = ([], [])  # machines that ran before and after a `ray down`
    shown: str = ""  # by the sweep, on its screen
    processes_left: list[str] = field(default_factory=list)
    listening: set[str] = field(default_factory=set)  # addresses
    written: dict[str, str] = field(default_factory=dict)  # by name: what commands printed, results, all logs
    secrets: tuple[str, ...] = ()

    @property
    def events(self) -> list[dict[str, Any]]:
        return read_jsonl(self.results.events)


class Clock:
    """Prints what each step took."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()

    def step(self, what: str) -> None:
        now = time.monotonic()
        sys.stderr.write(f"{now - self._last:7.1f} s  {what}\n")
        self._last = now

    def total(self) -> None:
        self._last = self._began
        self.step("in all")


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not (value := condition()):
        assert time.monotonic() < give_up, f"waited in vain: {what}"
        threading.Event().wait(0.2)
    return value


@contextmanager
def simulation() -> Iterator[tuple[Aws, Machines, Laptop]]:
    """AWS, its machines and a laptop, in a folder that is removed at the end."""
    root = Path(tempfile.mkdtemp(prefix="pm", dir="/tmp"))  # short: Ray's sockets lie inside
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
    try:
        with Aws() as aws:
            settings = aws_settings(aws.endpoint) | {"SIMULATION": str(root), "SIMULATED_HEAD_PORT": _free_port()}
            with Machines(root, settings | HURRIED) as machines:
                aws.machines = machines
                with Laptop(root, settings) as laptop:
                    yield aws, machines, laptop
    finally:
        remove(root)


def _free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def tell(aws: Aws, machines: Machines, laptop: Laptop) -> Outcome:
    """All of it, in order."""
    clock, cluster_file = Clock(), str(laptop.cluster_file)
    outcome = Outcome(ResultsFolder(laptop.home / "undisturbed"), ResultsFolder(laptop.home / "results" / "cluster"))
    undisturbed = laptop.start("python", str(UNDISTURBED), str(SWEEP), "--results", str(outcome.undisturbed.root))
    laptop.run("python", "-m", "cluster", "setup", cluster_file, "--storage", STORAGE, "--ssh-from", SSH_FROM)
    clock.step("cluster setup")
    laptop.run("ray", "up", "-y", cluster_file)
    laptop.run("ray", "rsync-up", cluster_file, str(SWEEP), "~/paramalloc/sweeps/cluster.yaml")
    clock.step("ray up: the head")
    command = f"python tune_main.py sweeps/cluster.yaml --storage {STORAGE} --down-when-done"
    laptop.run("ray", "exec", cluster_file, f"cd paramalloc && RAY_ADDRESS=auto {command}", "--tmux")
    (head,) = machines.running
    home = machines[head].home
    on_head = ResultsFolder(home / "paramalloc" / "results" / "cluster")
    with paused_trials(machines, on_head) as paused:
        clock.step("the sweep starts, workers come, trials begin")
        outcome.listening = _listening(machines.processes())
        outcome.meanwhile["status"] = laptop.run("ray", "exec", cluster_file, "ray status; cat agent.log")
        outcome.meanwhile["orphans"] = laptop.run("python", "-m", "cluster", "orphans", cluster_file, expect=1)
        laptop.run("python", "-m", "paramalloc", "report", f"{STORAGE}/cluster", place=laptop.home)
        outcome.early_report = outcome.results.report.read_text()
        clock.step("while it runs: ray status, the agent's log, orphans, the report from S3")
        outcome.reclaimed = _take_a_machine(aws, machines, on_head, paused[TRIALS[0]], clock)
    wait_until(lambda: not machines.running and not machines.processes(), "the cluster has ended itself")
    clock.step("the rest of the sweep, which then ends the cluster")
    outcome.processes_left = [str(process) for process in machines.processes()]
    outcome.shown = (home / "tmux.log").read_text()
    laptop.run("python", "-m", "paramalloc", "fetch", f"{STORAGE}/cluster", "--checkpoints", place=laptop.home)
    laptop.run("ray", "down", "-y", cluster_file)
    clock.step("results fetched from S3; ray down finds nothing to do")
    outcome.launches = list(aws.launches)
    outcome.down = _up_and_down(machines, laptop, cluster_file)
    laptop.run("python", "-m", "cluster", "orphans", cluster_file)
    clock.step("a second ray up that is broken off; ray down ends its head; no orphans")
    assert undisturbed.wait(PATIENCE_SECONDS) == 0, laptop.said
    clock.step("the rest of an undisturbed run of the sweep, begun at the start")
    clock.total()
    outcome.written = _everything_written(machines.root, laptop)
    outcome.secrets = (SECRET, laptop.auth_token)
    sys.stderr.write(yaml.safe_dump({"RunInstances, as AWS was asked": outcome.launches}, sort_keys=False))
    return outcome


def _up_and_down(machines: Machines, laptop: Laptop, cluster_file: str) -> tuple[list[str], list[str]]:
    """A `ray up` that is broken off once its head runs, and `ray down`; what ran before it and after."""
    up = laptop.start("ray", "up", "-y", cluster_file)
    wait_until(lambda: machines.running, "a second head boots")
    os.killpg(up.pid, signal.SIGKILL)
    up.wait()
    before = sorted(machines.running)
    laptop.run("ray", "down", "-y", cluster_file)
    return before, sorted(machines.running)


@contextmanager
def paused_trials(machines: Machines, results: ResultsFolder) -> Iterator[dict[str, Paused]]:
    """Each trial stands still from its first evaluation on, so that nothing of this story is a matter of speed."""
    with ExitStack() as stack:
        paused = {}
        for trial in TRIALS:
            wait_until(lambda trial=trial: read_jsonl(results.trial(RANKING, trial).history), f"{trial} is evaluated")
            begun = [row for row in _events(results, "trial_start") if row["trial"] == trial]
            paused[trial] = stack.enter_context(Paused(machines.holding(begun[-1]["node"]), begun[-1]["node"]))
        yield paused


def _take_a_machine(aws: Aws, machines: Machines, results: ResultsFolder, trial: Paused, clock: Clock) -> str:
    """A spot notice for the machine of a trial; when its time is up, EC2 takes it. Returns its Ray node."""
    machine, deadline = trial.machine, time.time() + NOTICE_SECONDS
    machine.metadata.spot_notice("terminate", deadline)
    wait_until(machine.notice_file.exists, "the agent sees the notice")
    trial.go_on()
    wait_until(lambda: _events(results, "trial_preempted"), "the trial leaves")
    clock.step("a spot notice, seen by the agent; the trial saves and leaves")
    wait_until(lambda: time.time() > deadline, "the time is up")
    _ec2(aws).terminate_instances(InstanceIds=[machine.name])
    clock.step("EC2 takes the machine")
    wait_until(lambda: _events(results, "trial_resumed"), "the trial carries on elsewhere")
    clock.step("a replacement comes, the trial carries on")
    return trial.node


def _events(results: ResultsFolder, kind: str) -> list[dict[str, Any]]:
    return [row for row in read_jsonl(results.events) if row["event"] == kind]


def _ec2(aws: Aws) -> Any:
    keys = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET}
    return boto3.client("ec2", endpoint_url=aws.endpoint, region_name="us-east-1", **keys)


def _listening(processes: list[psutil.Process]) -> set[str]:
    """The addresses on which these processes wait for others."""
    found = set()
    for process in processes:
        with suppress(psutil.Error):
            sockets = process.net_connections("inet")
            found |= {socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN}
    return found


def _everything_written(root: Path, laptop: Laptop) -> dict[str, str]:
    """What the commands printed, the results, and the logs of Ray and the agents on all machines."""
    places = ("laptop/*.log", "laptop/results/**/*", "m*/home/*.log", "m*/home/t/ray/session_2*/logs/**/*")
    files = [path for place in places for path in root.glob(place) if path.is_file()]
    return {str(path.relative_to(root)): path.read_text(errors="replace") for path in files}
