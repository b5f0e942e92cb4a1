"""Device and precision: which number format a device runs fast, and how a step is wrapped to use it.

Always holds: parameters and optimiser state are fp32; only matrix products run in the chosen format; a choice that
the device cannot run is refused with the ones it can.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from paramalloc.config import Precision
from paramalloc.errors import UserError

_INITIAL_LOSS_SCALE_LOG2 = 16
# Logits exist in chunks only (`cross_entropy`), so it is activations that grow with tokens. On a CPU more than 8
# sequences of 256 gain no speed; a GPU's figure is not measured.
_TOKENS_AT_ONCE = {"cpu": 2**11, "cuda": 2**15}


@dataclass(frozen=True)
class Numerics:
    """A device and the format of its matrix products: `fp32`, `bf16` or `fp16` (with loss scaling)."""

    device: torch.device
    precision: str

    def autocast(self) -> AbstractContextManager[object]:
        if self.precision == "fp32":
            return nullcontext()
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float16
        return torch.autocast(self.device.type, dtype=dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Loss scaling for fp16 (Micikevicius et al. 2018); for other formats it does nothing."""
        scale = 2.0**_INITIAL_LOSS_SCALE_LOG2
        return torch.amp.GradScaler(self.device.type, init_scale=scale, enabled=self.precision == "fp16")

    @property
    def tolerated_skips(self) -> int:
        """How many steps in a row may be skipped because their loss or gradient is not finite.

        Under fp16 the loss scale starts too high on purpose and halves at each skip. After 16 in a row nothing is
        scaled up any more, and what still overflows is the model's own doing. Other formats scale nothing: none.
        """
        return _INITIAL_LOSS_SCALE_LOG2 if self.precision == "fp16" else 0


def choose_numerics(precision: Precision, device: torch.device) -> Numerics:
    """`auto` takes bf16 where the hardware has it, fp16 on GPUs that do not (V100), and fp32 else.

    Errors: UserError when fp16 is asked of a CPU, or bf16 of a GPU without it.
    """
    if device.type == "cuda":
        has_bf16 = torch.cuda.get_device_capability(device) >= (8, 0)
        if precision == "bf16" and not has_bf16:
            name = torch.cuda.get_device_name(device)
            raise UserError("training.precision", f"bf16 on a {name}, which lacks it", "allowed: auto, fp16, fp32")
        automatic = "bf16" if has_bf16 else "fp16"
    else:
        if precision == "fp16":
            raise UserError("training.precision", "fp16 on a CPU", "allowed there: auto, bf16, fp32")
        automatic = "bf16" if _cpu_has_fast_bf16() else "fp32"
    return Numerics(device, automatic if precision == "auto" else precision)


def _cpu_has_fast_bf16() -> bool:
    """Whether the CPU multiplies bf16 matrices in hardware (AVX512-BF16 or AMX) rather than emulating it."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def micro_batch_size(batch_size: int, context_length: int, device: torch.device) -> int:
    """Largest power of two of sequences within 2,048 tokens on a CPU and 32,768 on a GPU, but at least one."""
    fitting = _TOKENS_AT_ONCE[device.type] // context_length
    return min(batch_size, 2 ** max(0, fitting.bit_length() - 1))


def scoring_batch_size(length: int, device: torch.device) -> int:
    """Most sequences within 2,048 tokens on a CPU and 32,768 on a GPU, but at least one."""
    return max(1, _TOKENS_AT_ONCE[device.type] // length)
