"""What a variant costs to run and to train: latency, decoding and training speed, FLOPs, MFU and memory.

Always holds: a figure that could not be measured is None, never 0; nothing depends on the weights, so untrained
models are measured; what compares variants is measured in turns, and says whether the machine was busy otherwise.

    profile_variants({"emb35": run}, EvaluationConfig(), choose_numerics("auto", torch.device("cpu")))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paramalloc.allocation import flops_per_token
from paramalloc.config import EvaluationConfig
from paramalloc.evaluation.profile.alone import OtherLoad
from paramalloc.evaluation.profile.latency import decode_tokens_per_second, latency_ms
from paramalloc.evaluation.profile.memory import PeakMemory, step_memory_mb
from paramalloc.evaluation.profile.peaks import device_peak_flops
from paramalloc.evaluation.profile.throughput import training_tokens_per_second
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics
from paramalloc.training.run import TrainingRun

__all__ = ["PeakMemory", "latency_ms", "profile_variants", "step_memory_mb"]


def profile_variants(
    runs: Mapping[str, TrainingRun],
    evaluation: EvaluationConfig,
    numerics: Numerics,
    memory: Mapping[str, float | None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Everything of this package by variant, as strict JSON. `memory`: what `step_memory_mb` has given already.

    `latency_ms` (see there); `decode_tokens_per_second` after `decode_prompt_tokens`; `training_tokens_per_second`;
    `forward_flops_per_token` and `train_flops_per_token` at the full context (`allocation.flops_per_token`);
    `mfu`, the share of the device's peak that training makes use of (PaLM, Chowdhery et al. 2022, appendix B), a
    shared GPU counting whole; `peak_memory_mb` of a training step; `alone` and `other_load_cores` (see `OtherLoad`).
    """
    others = OtherLoad(numerics.device)
    if memory is None:
        memory = step_memory_mb(runs, numerics)  # first: nothing else is held yet
    training = {name: training_tokens_per_second(run, numerics) for name, run in runs.items()}
    models = {name: Transformer(run.shape).to(numerics.device).eval() for name, run in runs.items()}
    latency = latency_ms(models, numerics, evaluation.latency_runs)
    decoding = decode_tokens_per_second(models, numerics)
    load = others.measure()
    peak = device_peak_flops(numerics)
    return {
        name: {
            "latency_ms": latency[name],
            **decoding[name],
            "training_tokens_per_second": training[name],
            "forward_flops_per_token": flops_per_token(run.shape) // 3,  # backward costs twice as much
            "train_flops_per_token": flops_per_token(run.shape),
            "mfu": training[name] * flops_per_token(run.shape) / peak if peak else None,
            "peak_memory_mb": memory[name],
            **load,
        }
        for name, run in runs.items()
    }
