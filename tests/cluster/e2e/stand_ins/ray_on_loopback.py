"""`ray` as the simulated machines have it: the real command line, on loopback, beside other machines on one host.

Always holds: `ray stop` stops nothing, because the real one would stop every Ray on this host; machines start one
after the other, since Ray chooses its ports by trying.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from pathlib import Path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start(arguments: list[str]) -> list[str]:
    """The arguments of `ray start`, with what keeps one machine out of another's way."""
    import ray._private.ray_constants as constants
    from ray._private import services

    # The environment says that this platform has no clusters, which keeps Ray on loopback; here alone it has one.
    constants.ENABLE_RAY_CLUSTER = True
    services.resolve_ip_for_localhost = lambda host: host
    kept = [argument for argument in arguments if not argument.startswith("--object-manager-port")]
    if "--head" in kept:
        kept += [f"--ray-client-server-port={free_port()}", f"--dashboard-port={free_port()}"]
    return [*kept, "--node-ip-address=127.0.0.1", "--object-store-memory=100000000"]


def run(command: str) -> None:
    """Errors: SystemExit with the exit code, as the real command line ends."""
    if command == "stop":
        return
    from ray.scripts.scripts import main  # takes two seconds, which `stop` need not wait

    if command == "start":
        lock = (Path(os.environ["SIMULATION"]) / "ray-start.lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        sys.argv[1:] = start(sys.argv[1:])
    main()


if __name__ == "__main__":
    run(sys.argv[1] if len(sys.argv) > 1 else "")
