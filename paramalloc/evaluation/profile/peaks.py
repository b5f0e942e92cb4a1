"""The most FLOP/s that a GPU's maker claims for dense matrix products: the denominator of MFU.

Always holds: figures are without sparsity, 16-bit ones with tensor cores, fp32 ones without (no TF32); a device that
is not listed, or a slice of one, has no figure. Source: NVIDIA's data sheets of each GPU.
"""

from __future__ import annotations

import re

import torch

from paramalloc.numerics import Numerics

# The words that a device's name contains (`torch.cuda.get_device_name`); the first line that fits counts.
_TFLOPS: tuple[tuple[tuple[str, ...], dict[str, float]], ...] = (
    (("V100", "PCIE"), {"fp32": 14.0, "fp16": 112.0}),
    (("V100S",), {"fp32": 16.4, "fp16": 130.0}),
    (("V100",), {"fp32": 15.7, "fp16": 125.0}),
    (("T4",), {"fp32": 8.1, "fp16": 65.0}),
    (("A10",), {"fp32": 31.2, "fp16": 125.0, "bf16": 125.0}),
    (("A10G",), {"fp32": 35.0, "fp16": 70.0, "bf16": 70.0}),
    (("A30",), {"fp32": 10.3, "fp16": 165.0, "bf16": 165.0}),
    (("A100",), {"fp32": 19.5, "fp16": 312.0, "bf16": 312.0}),
    (("L4",), {"fp32": 30.3, "fp16": 121.0, "bf16": 121.0}),
    (("L40S",), {"fp32": 91.6, "fp16": 362.0, "bf16": 362.0}),
    (("H100", "PCIE"), {"fp32": 51.2, "fp16": 756.0, "bf16": 756.0}),
    (("H100", "NVL"), {"fp32": 60.0, "fp16": 835.5, "bf16": 835.5}),
    (("H100",), {"fp32": 66.9, "fp16": 989.4, "bf16": 989.4}),
    (("H200", "NVL"), {"fp32": 60.0, "fp16": 835.5, "bf16": 835.5}),
    (("H200",), {"fp32": 66.9, "fp16": 989.4, "bf16": 989.4}),
)


def peak_flops(device_name: str, precision: str) -> float | None:
    """Dense FLOP/s of a GPU by the name CUDA gives it, in `fp32`, `bf16` or `fp16`; None where unknown."""
    words = set(re.split(r"[^A-Z0-9]+", device_name.upper()))
    if "MIG" in words:
        return None
    known = next((peaks for needed, peaks in _TFLOPS if words.issuperset(needed)), {})
    return known[precision] * 1e12 if precision in known else None


def device_peak_flops(numerics: Numerics) -> float | None:
    """`peak_flops` of the device at hand; None for a CPU, and for fp32 where PyTorch was told to use TF32."""
    if numerics.device.type != "cuda":
        return None
    if numerics.precision == "fp32" and torch.get_float32_matmul_precision() != "highest":
        return None
    return peak_flops(torch.cuda.get_device_name(numerics.device), numerics.precision)
