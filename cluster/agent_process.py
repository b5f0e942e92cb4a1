"""The agent as a process of its node: one at a time, ended cleanly by SIGTERM, idle where there is nothing to watch.

Always holds: the agent itself never imports Ray (it needs 23 MB); a newer agent takes the place of an older
one; ending it leaves a standing flag alone; it logs to stderr, one line per event.
Run `python -m cluster agent`; `--once` looks once and ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from cluster.agent import Agent
from cluster.errand import Child, Errand
from cluster.errors import ClusterError
from cluster.imds import MetadataClient
from cluster.notice import (
    NOTICE_FILE_VARIABLE,
    NodeRecord,
    make_folder,
    notice_path,
    record_path,
    write_notice,
    write_record,
)

TAKE_OVER_SECONDS = 10.0
SHORT_PAUSE_SECONDS = 0.2


def run(address: str | None, node_id: str | None, once: bool) -> int:
    """Watch this machine until SIGTERM or Ctrl-C. Errors: ClusterError for an unusable folder or endpoint."""
    flag, stop = notice_path(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        make_folder(flag.parent)
    except OSError as error:
        raise ClusterError(
            str(flag.parent), str(error), f"set {NOTICE_FILE_VARIABLE} to a place of your own"
        ) from None
    with sole_agent(flag.with_name(f"{flag.name}.lock")):
        metadata = MetadataClient.from_environment()
        if metadata is None:
            log("the metadata service is switched off by the environment: nothing to watch")
            if not once:
                stop.wait()
            return 0
        log(f"watching {metadata.endpoint}, flag {flag}")
        agent = Agent(metadata, lambda record: save(flag, record), _errand(address, node_id), log)
        watch(agent, stop, once)
    log("stopped")
    return 0


def watch(agent: Agent, stop: threading.Event, once: bool) -> None:
    """Tick until `stop`; with `once`, until the first look is done and told, or nobody answers."""
    while not stop.is_set():
        pause = agent.tick(time.time())
        if once and (agent.absent or (agent.answered and not agent.errand.pending)):
            break
        stop.wait(SHORT_PAUSE_SECONDS if once else pause)
    agent.errand.stop()


def save(flag: Path, record: NodeRecord) -> None:
    """Bring both files in line with `record`, the flag first. Errors: OSError."""
    if record.notice:
        write_notice(flag, record.notice)
    else:
        flag.unlink(missing_ok=True)
    write_record(record_path(flag), record)


def log(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} agent: {line}\n")
    sys.stderr.flush()


@contextmanager
def sole_agent(lock: Path) -> Iterator[None]:
    """Hold the node's lock, ending the agent that holds it now: `ray up` starts a new one after changing anything."""
    with lock.open("a+") as stream:
        give_up = time.monotonic() + TAKE_OVER_SECONDS
        while not _locked(stream.fileno()):
            _end_holder(lock)
            if time.monotonic() > give_up:
                raise ClusterError(str(lock), "another agent that does not end", "end it by hand")
            time.sleep(SHORT_PAUSE_SECONDS)
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _end_holder(lock: Path) -> None:
    """Only a process that holds the lock has its number in it, so the number cannot be a stranger's."""
    try:
        os.kill(int(lock.read_text()), signal.SIGTERM)
    except (ValueError, ProcessLookupError):
        pass
    except PermissionError:
        raise ClusterError(str(lock), "another user's agent", f"set {NOTICE_FILE_VARIABLE} elsewhere") from None


def _errand(address: str | None, node_id: str | None) -> Errand:
    given = [
        part for name, value in (("--address", address), ("--node-id", node_id)) if value for part in (name, value)
    ]

    def launch(record: NodeRecord) -> Child:
        return Child([sys.executable, "-m", "cluster", "tell-ray", *given, json.dumps(asdict(record))])

    return Errand(launch, log)
