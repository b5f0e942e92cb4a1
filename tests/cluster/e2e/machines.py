"""Simulated machines: a home folder, a metadata service and the processes that were started there.

Always holds: a machine's processes carry its name in their environment, so that they can be ended with it and no
other process can be meant; whatever listens, listens on loopback.

    with Machines(root, environment) as machines:
        machines.boot("i-1", "g5.xlarge", "us-east-1a", "spot", ("172.31.0.4", "54.0.0.4"))
        machines["i-1"].metadata.spot_notice("terminate", deadline)
        machines.power_off("i-1")
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import ray  # noqa: F401 brings psutil along

import psutil  # isort: skip

from tests.cluster.imds_mock import META, MetadataService

REPOSITORY = Path(__file__).parents[3]
STAND_INS = Path(__file__).parent / "stand_ins"
NAME_VARIABLE = "SIMULATED_MACHINE"
NOTICE_FILE = "notice.json"
END_SECONDS = 10.0


@dataclass
class Machine:
    """One that runs; `home` is its account's home folder."""

    name: str
    home: Path
    metadata: MetadataService
    addresses: tuple[str, ...]

    @property
    def notice_file(self) -> Path:
        """The flag by which its agent tells trials of a spot notice."""
        return self.home.parent / NOTICE_FILE


class Paused:
    """The trials on `machine`, as Ray node `node`, stand still until `go_on` or the end of the `with` block."""

    def __init__(self, machine: Machine, node: str) -> None:
        self.machine, self.node = machine, node
        self._trials = [process for process in processes({machine.name}) if _is_trial(process)]
        assert self._trials, f"no trial is under way on {machine.name}"

    def __enter__(self) -> Paused:
        for process in self._trials:
            process.suspend()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_on()

    def go_on(self) -> None:
        for process in self._trials:
            with suppress(psutil.Error):  # gone with its machine
                process.resume()


def _is_trial(process: psutil.Process) -> bool:
    """Between two reports a trial's process is called after its actor alone."""
    with suppress(psutil.Error):
        return "".join(process.cmdline()).startswith("ray::ImplicitFunc")
    return False


class Machines:
    """All machines of a simulation.

    Args:
        root: a folder of its own, with a short path: Ray's sockets lie inside.
        environment: what every process of every machine gets, such as the address of AWS.
    """

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        self.root, self._environment = root, dict(environment)
        self._running: dict[str, Machine] = {}
        self._names: list[str] = []
        (root / "by-address").mkdir()

    def __enter__(self) -> Machines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self.running:
            self.power_off(name)

    @property
    def running(self) -> list[str]:
        return list(self._running)

    def __getitem__(self, name: str) -> Machine:
        return self._running[name]

    def holding(self, node: str) -> Machine:
        """The machine on which the Ray node of this id (hex) runs."""
        for name, machine in self._running.items():
            if any(f"--node_id={node}" in process.cmdline() for process in processes({name})):
                return machine
        raise LookupError(f"no machine runs Ray node {node}")

    def boot(self, name: str, kind: str, zone: str, lifecycle: str, addresses: Iterable[str]) -> None:
        """Start a machine whose image has the project's Python environment already."""
        folder = self.root / f"m{len(self._names)}"
        self._names.append(name)
        home = folder / "home"
        metadata = MetadataService()
        about = (name, kind, zone, lifecycle)
        paths = ("instance-id", "instance-type", "placement/availability-zone", "instance-life-cycle")
        metadata.answers |= {META + path: value for path, value in zip(paths, about, strict=True)}
        identity = {"pendingTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        metadata.answers["/latest/dynamic/instance-identity/document"] = json.dumps(identity)
        metadata.__enter__()
        make_image(home)
        environment = self._environment | {
            NAME_VARIABLE: name,
            "HOME": str(home),
            "PATH": f"{home / 'bin'}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(home / "paramalloc"),
            "RAY_TMPDIR": str(home / "t"),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # keeps Ray on loopback, see stand_ins/ray_on_loopback.py
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.endpoint,
            "PARAMALLOC_NOTICE_FILE": str(folder / NOTICE_FILE),
        }
        (folder / "environment").write_text("".join(f"{key}={value}\n" for key, value in environment.items()))
        self._running[name] = Machine(name, home, metadata, tuple(addresses))
        for address in addresses:  # last: now it can be reached
            (self.root / "by-address" / address).symlink_to(folder)

    def power_off(self, name: str) -> None:
        """The end of a machine, as when EC2 takes it: no process of it gets a word in."""
        machine = self._running.pop(name, None)
        if machine is None:
            return
        for address in machine.addresses:
            (self.root / "by-address" / address).unlink()
        end({name})
        machine.metadata.__exit__(None, None, None)

    def processes(self) -> list[psutil.Process]:
        """Those of all machines that there ever were."""
        return processes(set(self._names))


def processes(names: set[str]) -> list[psutil.Process]:
    """The processes that were started on the machines with these names, or by such a process."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(NAME_VARIABLE) in names:
                found.append(process)
        except psutil.Error:  # gone meanwhile, or another user's
            continue
    return found


def end(names: set[str]) -> None:
    """Kill what `processes` finds, until nothing is found any more."""
    while found := processes(names):
        for process in found:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(found, END_SECONDS)


def make_image(home: Path) -> None:
    """A home folder as a machine has it whose image was made of an installed one, so that nothing is downloaded."""
    (home / "t" / "ray").mkdir(parents=True)
    (home / "bin").mkdir()
    (home / "venv" / "bin").mkdir(parents=True)
    for name in ("ssh", "rsync", "tmux"):
        (home / "bin" / name).symlink_to(STAND_INS / name)
    for place, name, command in (
        ("bin", "python3", sys.executable),
        ("venv/bin", "python", sys.executable),
        ("venv/bin", "ray", f"{sys.executable} {STAND_INS / 'ray_on_loopback.py'}"),
    ):
        script = home / place / name
        script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        script.chmod(0o755)
    (home / ".bashrc").write_text(f'export PATH="{home / "bin"}:$PATH"\n')
    (home / "venv" / ".installed").write_text(_installed_mark() + "\n")


def _installed_mark() -> str:
    """What install.sh leaves behind when it has installed just this version."""
    parts = [REPOSITORY / name for name in ("pyproject.toml", "constraints.txt", "cluster/install.sh")]
    content = b"".join(path.read_bytes() for path in parts) + b"\n"
    return hashlib.sha256(content).hexdigest() + "  -"


def remove(root: Path) -> None:
    shutil.rmtree(root, ignore_errors=True)
