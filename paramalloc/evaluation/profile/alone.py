"""Whether a measurement had the machine to itself, from what the rest of the machine did meanwhile.

Always holds: what this process and its children use is not counted against them; where the system does not tell,
nothing is claimed. `others = OtherLoad(device)`, then the work, then `others.measure()`.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import torch

ALONE_SHARE = 0.1
_STAT = Path("/proc/stat")
_BUSY = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal (proc(5)): not idle, not waiting for a disk


class OtherLoad:
    """The cores that everything else kept busy since this object was made, on average.

    Rule: the measurement was alone when that is less than a tenth of the machine's cores and, on a GPU, no other
    process computes there. On a machine shared with other containers their load counts too: it is the same hardware.
    """

    def __init__(
        self,
        device: torch.device,
        stat: Path = _STAT,
        own_seconds: Callable[[], float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.device, self.stat, self.clock = device, stat, clock
        self.own_seconds = own_seconds or _own_seconds
        self._others_before, self._begun = self._other_seconds(), clock()

    def measure(self) -> dict[str, bool | float | None]:
        """`alone` (None where that cannot be known) and `other_load_cores`."""
        cores = self._cores()
        quiet = None if cores is None else cores < ALONE_SHARE * (os.cpu_count() or 1)
        known = [quiet, gpu_alone(self.device)] if self.device.type == "cuda" else [quiet]
        alone = False if False in known else None if None in known else True
        return {"alone": alone, "other_load_cores": cores}

    def _cores(self) -> float | None:
        elapsed, others = self.clock() - self._begun, self._other_seconds()
        if others is None or self._others_before is None or elapsed <= 0:
            return None
        return max(0.0, (others - self._others_before) / elapsed)

    def _other_seconds(self) -> float | None:
        """Core seconds that all but this process and its children have used since the machine started."""
        try:
            fields = self.stat.read_text().split("\n", 1)[0].split()[1:]
            ticks = sum(int(fields[index]) for index in _BUSY)
        except (OSError, ValueError, IndexError):
            return None
        return ticks / os.sysconf("SC_CLK_TCK") - self.own_seconds()


def gpu_alone(device: torch.device) -> bool | None:
    """Whether a single process, this one, computes on the GPU; None where NVML is missing or sees none."""
    try:
        import pynvml
    except ImportError:
        return None
    identity = f"GPU-{torch.cuda.get_device_properties(device).uuid}"  # indexes shift under CUDA_VISIBLE_DEVICES
    try:
        pynvml.nvmlInit()
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByUUID(identity))
    except pynvml.NVMLError:  # no driver, or a MIG slice
        return None
    return len(processes) == 1 if processes else None  # in some containers NVML sees no process, not even this one


def _own_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)
