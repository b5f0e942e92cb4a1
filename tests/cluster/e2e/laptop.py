"""The machine on which somebody types `ray up`: its home folder and its commands.

Always holds: no setting of the real user's gets in, neither credentials nor Ray's token; commands run in the
repository's root, as the documentation says, but for those that would leave results there; what they say lands in
`said`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from cluster.validate import load
from tests.cluster.e2e.machines import NAME_VARIABLE, REPOSITORY, STAND_INS, end

SPOT_FILE = REPOSITORY / "cluster" / "spot.yaml"
OVERLAY = Path(__file__).with_name("overlay.yaml")
BUCKET, PREFIX = "paramalloc-results", "sweeps"
STORAGE = f"s3://{BUCKET}/{PREFIX}"
KEY_ID, SECRET = "AKIAPLANTEDPLANTED00", "planted/secret+0123456789"
COMMAND_SECONDS = 600  # many times what it takes on a quiet machine


def aws_settings(endpoint: str) -> dict[str, str]:
    """What boto3 needs to talk to the AWS on loopback; on real machines their role takes the place of the key."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "*",
    }


class Laptop:
    """Types commands. `settings`: what differs from an empty environment, beside home and PATH."""

    def __init__(self, root: Path, settings: Mapping[str, str]) -> None:
        self.home = root / "laptop"
        self._logs: list[Path] = []
        self._name = f"laptop of {root.name}"
        self.cluster_file = self.home / "spot.yaml"
        for name in ("tmp", "ray"):
            (self.home / name).mkdir(parents=True)
        self.environment = dict(settings) | {
            NAME_VARIABLE: self._name,
            "HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),  # Ray keeps what it knows of a cluster file there
            "RAY_TMPDIR": str(self.home),
            "PATH": os.pathsep.join([str(STAND_INS), str(Path(sys.executable).parent), "/usr/bin", "/bin"]),
            "PYTHONPATH": str(REPOSITORY),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_UP_enable_autoscaler_v2": "1",
            "RAY_prestart_worker_first_driver": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # keeps Ray on loopback, see stand_ins/ray_on_loopback.py
            "PYTHONWARNINGS": "ignore",
        }
        config: dict[str, Any] = load(SPOT_FILE) | load(OVERLAY)
        self.cluster_file.write_text(yaml.safe_dump(config, sort_keys=False))

    def __enter__(self) -> Laptop:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end({self._name})

    def run(self, *command: str, expect: int = 0, place: Path = REPOSITORY) -> str:
        """The command's output, when it ends with the exit code that is expected."""
        process = self.start(*command, place=place)
        status = process.wait(COMMAND_SECONDS)
        said = self._logs[-1].read_text()
        assert status == expect, f"{' '.join(command)} ended with {status}:\n{said}"
        return said

    def start(self, *command: str, place: Path = REPOSITORY) -> subprocess.Popen[bytes]:
        """A command on its way, in a session of its own: an interactive shell must not take the terminal."""
        self._logs.append(self.home / f"command-{len(self._logs)}.log")
        with self._logs[-1].open("w") as log:
            return subprocess.Popen(
                list(command),
                cwd=place,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """All that the commands have printed so far."""
        return "".join(log.read_text() for log in self._logs)

    @property
    def auth_token(self) -> str:
        return (self.home / ".ray" / "auth_token").read_text()
