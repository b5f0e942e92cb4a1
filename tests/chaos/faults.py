"""Every kind of fault as a function of the same name: what it does to a sweep that is under way.

Always holds: a fault ends with as many healthy nodes as before and with a driver at work, or with one that has ended
by itself; `scene.struck` remembers which trials it hit, when, and whether they had been warned.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from paramalloc.storage.objects import open_objects
from tests.chaos.nodes import wait_until, workers
from tests.chaos.plan import Fault
from tests.chaos.scene import Scene
from tests.s3_server import let_lease_expire

REACTION_SECONDS = 20.0  # for a trial to leave; EC2 gives 120
GIVEN_UP_SECONDS = 40.0  # for a silent machine
HALF_WRITTEN = ".writing-"  # how the name of a checkpoint's folder begins until it is whole
ATTEMPTS = 8  # to meet a trial in the milliseconds of a checkpoint


def node_killed(scene: Scene, fault: Fault) -> None:
    """Power cut: no process of the machine gets another instruction."""
    node = scene.node(fault)
    scene.strike([node], fault.kind)
    scene.machines.kill(node)
    scene.machines.add()


def two_nodes_killed(scene: Scene, fault: Fault) -> None:
    """Both machines at once, so that for a while there is none; replacements come one after the other."""
    nodes = list(scene.machines.nodes)
    scene.strike(nodes, fault.kind)
    for node in nodes:
        scene.machines.kill(node)
    for _ in nodes:
        scene.machines.add()


def host_silent(scene: Scene, fault: Fault) -> None:
    """The machine hangs, is given up, and comes back to life when its trial is long at work elsewhere."""
    node = scene.node(fault)
    scene.strike([node], fault.kind)
    scene.machines.silence(node)
    scene.machines.add()
    scene.driver.wait_for(lambda: scene.is_lost(node), GIVEN_UP_SECONDS)
    scene.driver.wait_for(lambda: scene.begun_since(scene.struck[-1].time), REACTION_SECONDS)
    scene.machines.unsilence()


def raylet_silent(scene: Scene, fault: Fault) -> None:
    """Ray's own process hangs, and the trial beside it trains on: to its end, or until a successor has begun."""
    node = scene.node(fault)
    scene.strike([node], fault.kind)
    scene.machines.silence(node, raylet_alone=True)
    scene.machines.add()
    scene.driver.wait_for(lambda: scene.is_lost(node), GIVEN_UP_SECONDS)
    scene.driver.wait_for(lambda: scene.begun_since(scene.struck[-1].time), REACTION_SECONDS)
    scene.machines.unsilence()


def killed_while_writing(scene: Scene, fault: Fault) -> None:
    """The trial's process is taken between the first and the last file of a checkpoint; tried until it is."""
    for _ in range(ATTEMPTS):
        node = scene.node(fault)
        victims = workers(node)
        half_written = _until_half_written(scene)
        for worker in victims:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        if half_written and victims and half_written.exists():
            scene.strike([node], fault.kind, loses_node=False)
            return
        moment = time.time()
        scene.driver.wait_for(lambda since=moment: scene.begun_since(since), REACTION_SECONDS)


def notice_by_agent(scene: Scene, fault: Fault) -> None:
    """EC2's notice over HTTP, the node agent, the flag, the drain; the machine goes once its trial has left."""
    node = scene.node(fault)
    with _held_up(workers(node)):
        service = scene.machines.watch(node)
        service.spot_notice("terminate", time.time() + 120)
        _strike_with_notice(scene, node, fault.kind)
    _leave_and_die(scene, node)


def metadata_hangs(scene: Scene, fault: Fault) -> None:
    """The metadata service accepts connections and does not answer; then it does, and has a notice."""
    node = scene.node(fault)
    with _held_up(workers(node)):
        service = scene.machines.watch(node)
        service.mode = "hang"
        service.spot_notice("terminate", time.time() + 120)
        time.sleep(2 + 2 * fault.fraction)
        service.mode = "ok"
        service.release.set()
        _strike_with_notice(scene, node, fault.kind)
    _leave_and_die(scene, node)


def notice_too_late(scene: Scene, fault: Fault) -> None:
    """A notice, and the machine is gone before a trial can have saved anything, or just while it saves."""
    node = scene.node(fault)
    scene.machines.notice(node, seconds=0.0)
    time.sleep(0.3 * fault.fraction)
    scene.strike([node], fault.kind)
    scene.machines.kill(node)
    scene.machines.add()


def false_alarm(scene: Scene, fault: Fault) -> None:
    """A notice that is withdrawn; the machine stays, but Ray does not undo a drain, so another one joins."""
    node = scene.node(fault)
    scene.strike([node], fault.kind, noticed=True)
    scene.machines.notice(node)
    time.sleep(3 * fault.fraction)
    scene.machines.withdraw(node)
    scene.machines.add()


def worker_killed(scene: Scene, fault: Fault) -> None:
    """The kernel takes the trial's process for its memory; machine and Ray live on."""
    node = scene.node(fault)
    scene.strike([node], fault.kind, loses_node=False)
    for worker in workers(node):
        with suppress(psutil.NoSuchProcess):
            worker.kill()


def driver_killed(scene: Scene, fault: Fault) -> None:
    """kill -9; then the same command again."""
    scene.kill_driver(fault.kind)
    scene.start_driver()


def driver_interrupted(scene: Scene, fault: Fault) -> None:
    """Ctrl-C; then the same command again."""
    scene.strike(list(scene.machines.nodes), fault.kind, noticed=True, loses_node=False)
    with suppress(ProcessLookupError):
        scene.driver.signal(signal.SIGINT)
    scene.ended(scene.driver.end())
    if not scene.done:
        scene.start_driver()


def head_lost(scene: Scene, fault: Fault) -> None:
    """The machine with the driver and Ray's head, and all others with it; the results are on a disk that stays."""
    scene.kill_driver(fault.kind)
    scene.machines.lose_head()
    scene.start_driver()


def disk_of_head_lost(scene: Scene, fault: Fault) -> None:
    """The driver and its disk with all results and every node's checkpoints; S3 has what there was."""
    scene.kill_driver(fault.kind)
    wait_until(lambda: not any(workers(node) for node in scene.machines.nodes), REACTION_SECONDS)
    shutil.rmtree(scene.folder.root)
    assert scene.folder.storage
    let_lease_expire(open_objects(scene.folder.storage))
    scene.start_driver()


def storage_fails(scene: Scene, fault: Fault) -> None:
    """S3 answers every request with 503 for some seconds; nobody is stopped by it."""
    scene.strike([], fault.kind)
    scene.s3.failing = True
    scene.driver.end(2 + 10 * fault.fraction)
    scene.s3.failing = False


def checkpoint_flipped(scene: Scene, fault: Fault) -> None:
    """While no driver lives, one bit of every trial's newest checkpoint changes."""
    scene.kill_driver(fault.kind)
    for path in _newest_files(scene):
        data = bytearray(path.read_bytes())
        place = int(fault.fraction * len(data))
        data[place] ^= 1 << fault.victim % 8
        path.write_bytes(data)
    scene.start_driver()


def checkpoint_truncated(scene: Scene, fault: Fault) -> None:
    """While no driver lives, the newest checkpoint of every trial loses its tail."""
    scene.kill_driver(fault.kind)
    for path in _newest_files(scene):
        os.truncate(path, int(fault.fraction * path.stat().st_size))
    scene.start_driver()


def disk_full(scene: Scene, fault: Fault) -> None:
    """Nothing can be written until the driver has given up or half a minute is over; then the same command again."""
    scene.strike(list(scene.machines.nodes), fault.kind, loses_node=False)
    ballast = scene.folder.root.parent / "ballast"
    _fill(ballast)
    scene.driver.end(10 + 20 * fault.fraction)
    ballast.unlink()
    if not scene.driver.alive:
        scene.ended(scene.driver.code)
        scene.start_driver()


@contextmanager
def _held_up(trials: list[psutil.Process]) -> Iterator[None]:
    """Trials that wait: where cores are busy, a short one would be over before an agent has started."""
    for trial in trials:
        with suppress(psutil.NoSuchProcess):
            trial.suspend()
    try:
        yield
    finally:
        for trial in trials:
            with suppress(psutil.NoSuchProcess):
                trial.resume()


def _strike_with_notice(scene: Scene, node: Any, kind: str) -> None:
    """The agent has raised the flag, and whoever is under way there has not seen it yet."""
    assert wait_until(node.flag.exists, REACTION_SECONDS), "no agent told of the notice"
    scene.strike([node], kind, noticed=True)


def _leave_and_die(scene: Scene, node: Any) -> None:
    struck = scene.struck[-1]
    scene.driver.wait_for(lambda: scene.left_since(struck), REACTION_SECONDS)
    scene.machines.kill(node)
    scene.machines.add()


def _until_half_written(scene: Scene) -> Path | None:
    """A folder that a checkpoint is being written into, a moment after it came to be: it lives for milliseconds."""
    until = time.monotonic() + REACTION_SECONDS
    while time.monotonic() < until:
        for checkpoints in scene.folder.root.glob("*/*/checkpoint"):
            for name in os.listdir(checkpoints):
                if name.startswith(HALF_WRITTEN):
                    return checkpoints / name
    return None


def _newest_files(scene: Scene) -> list[Path]:
    """One file, by turns the weights, the state and the manifest, of each trial's newest checkpoint."""
    found = []
    for number, checkpoints in enumerate(sorted(scene.folder.root.glob("*/*/checkpoint"))):
        steps = sorted(checkpoints.glob("step-*"))
        files = sorted(steps[-1].iterdir()) if steps else []
        found += [files[number % len(files)]] if files else []
    return found


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as stream, suppress(OSError):
        while True:
            stream.write(bytes(65536))
