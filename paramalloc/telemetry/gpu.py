"""How busy a GPU is and how much of its memory is taken, as the driver (NVML) sees it: all processes together.

Always holds: without a GPU, without `pynvml` (package nvidia-ml-py), or where NVML does not know the device, nothing
is read and nothing fails. `gpu_probe(device)()`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from paramalloc.telemetry import Values


def gpu_probe(device: torch.device) -> Callable[[], Values]:
    """Reads `gpu_utilisation_percent` (of the last sample period, at most a second) and `gpu_memory_mb` (of 10^6)."""
    if device.type != "cuda":
        return dict
    try:
        import pynvml
    except ImportError:
        return dict
    identity = f"GPU-{torch.cuda.get_device_properties(device).uuid}"  # indexes shift under CUDA_VISIBLE_DEVICES
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(identity)
    except pynvml.NVMLError:  # no driver, or a MIG slice
        return dict

    def read() -> Values:
        try:
            return {
                "gpu_utilisation_percent": float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
                "gpu_memory_mb": pynvml.nvmlDeviceGetMemoryInfo(handle).used / 1e6,
            }
        except pynvml.NVMLError:  # this GPU does not tell
            return {}

    return read
