"""One run of a plan: the sweep starts, the faults strike at their points, and what is left is held to account.

Always holds: whatever happened, the machines are as before when `run_plan` returns.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paramalloc.config import SweepConfig
from paramalloc.files import read_jsonl
from paramalloc.results import ResultsFolder
from paramalloc.sweep_file import dump_sweep
from tests.chaos import faults
from tests.chaos.checks import lost_with_notice, problems
from tests.chaos.figures import RunFigures, recoveries
from tests.chaos.nodes import Machines
from tests.chaos.plan import STORED, Fault, Plan
from tests.chaos.scene import EXIT_DONE, Scene
from tests.s3_server import S3Server

DRIVERS = 4  # more than any plan needs: one that ends with an error is started again, as its user would
DISK_MB = 24


def run_plan(
    plan: Plan,
    machines: Machines,
    s3: S3Server,
    config: SweepConfig,
    undisturbed: dict[str, Any] | None,
    place: Path,
) -> RunFigures:
    """Run `plan` in the empty folder `place`. Without `undisturbed` there is nothing to compare with."""
    machines.restore()
    began = time.monotonic()
    place.mkdir()
    with _disk(place, small=any(fault.kind == "disk_full" for fault in plan.faults)):
        sweep = place / "sweep.yaml"
        sweep.write_text(dump_sweep(config))
        stored = any(fault.kind in STORED for fault in plan.faults)
        folder = ResultsFolder(place / "results", f"{s3.address}/{place.name}/results" if stored else None)
        scene = Scene(machines, sweep, folder, s3)
        started = time.monotonic()
        for fault in plan.faults:
            if _wait_for(scene, fault, started):
                getattr(faults, fault.kind)(scene, fault)
        _finish(scene)
        seconds = time.monotonic() - began
        found = [f"still running: {process}" for process in machines.stragglers()]
        if not scene.done:
            found.append(f"the driver ended with {scene.codes}: {scene.driver.log.read_text()[-3000:]}")
        elif undisturbed is not None:
            found += problems(scene.folder, undisturbed, scene.struck)
        recovered = recoveries(read_jsonl(scene.folder.events), scene.struck)
        found += lost_with_notice(recovered)
        if found:
            shutil.copytree(place, place.with_name(f"{place.name}-failed"))
    return RunFigures(
        plan=plan.name,
        faults=[blow.kind for blow in scene.struck],
        seconds=round(seconds, 1),
        drivers=len(scene.codes),
        nodes_lost=sum(len(blow.nodes) for blow in scene.struck),
        recoveries=recovered,
        problems=found,
    )


def _wait_for(scene: Scene, fault: Fault, started: float) -> bool:
    """Wait for the fault's point; False when the sweep is over before."""
    if fault.after_seconds is not None:
        remaining = started + fault.after_seconds - time.monotonic()
        scene.driver.end(max(0.0, remaining))
        return scene.driver.alive
    return bool(scene.driver.wait_for(lambda: scene.evaluations >= fault.after_evaluations and scene.under_way()))


def _finish(scene: Scene) -> None:
    while not scene.done and len(scene.codes) < DRIVERS:
        scene.ended(code := scene.driver.end())
        if code is None:
            scene.kill_driver("hangs")
            return
        if code != EXIT_DONE and len(scene.codes) < DRIVERS:
            scene.start_driver()


@contextmanager
def _disk(place: Path, small: bool) -> Iterator[None]:
    """A file system of a few megabytes under `place`, where that is asked for."""
    if not small:
        yield
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def can_mount(place: Path) -> bool:
    """Whether this user may mount a small disk here, which needs root."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    allowed = subprocess.run(command, capture_output=True, check=False).returncode == 0
    if allowed:
        subprocess.run(["umount", str(place)], check=True)
    place.rmdir()
    return allowed
