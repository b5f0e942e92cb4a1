"""How long one user waits: a forward pass at batch 1, and tokens per second with the key-value cache.

Always holds: models take turns, so that whatever else the machine does falls on all of them alike; the device has
finished before the clock is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import numpy as np
import torch

from paramalloc.model import Transformer
from paramalloc.numerics import Numerics

LATENCY_LENGTHS = (128, 512)
_WARMUP_RUNS = 5
_PROMPT_TOKENS, _DECODED_TOKENS = 64, 64
_DECODE_ROUNDS = 5

Clock = Callable[[], float]


@torch.inference_mode()
def latency_ms(
    models: Mapping[str, Transformer],
    numerics: Numerics,
    runs: int,
    clock: Clock = time.perf_counter,
) -> dict[str, dict[str, dict[str, float] | None]]:
    """Milliseconds of a forward pass at batch 1, by model: `{"128": {"p50":, "p95":, "p99":}, "512": None}`.

    The models take turns pass by pass. A length beyond a model's context, or `runs` = 0, gives None; where all
    contexts are shorter than 128 tokens, the shortest of them is measured besides.
    """
    quantiles: dict[str, dict[str, dict[str, float] | None]] = {name: {} for name in models}
    contexts = [model.shape.context_length for model in models.values()]
    lengths = LATENCY_LENGTHS if max(contexts) >= LATENCY_LENGTHS[0] else (min(contexts), *LATENCY_LENGTHS)
    for length in lengths:
        fitting = {name: model.eval() for name, model in models.items() if length <= model.shape.context_length}
        times: dict[str, list[float]] = {name: [] for name in models}
        for _ in range(_WARMUP_RUNS + runs if runs else 0):
            for name, model in fitting.items():
                times[name].append(_forward_ms(model, length, numerics, clock))
        for name, measured in times.items():
            quantiles[name][str(length)] = _quantiles(measured[_WARMUP_RUNS:])
    return quantiles


@torch.inference_mode()
def decode_tokens_per_second(
    models: Mapping[str, Transformer], numerics: Numerics, clock: Clock = time.perf_counter
) -> dict[str, dict[str, Any]]:
    """Greedy decoding at batch 1, by model: `decode_tokens_per_second`, and the `decode_prompt_tokens` before it.

    The prompt (64 tokens, or half of a context below 128) is not timed; up to 64 tokens after it are. The models
    take turns, and the median of five rounds counts, after one that does not.
    """
    speeds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(1 + _DECODE_ROUNDS):
        for name, model in models.items():
            speeds[name].append(_decode_speed(model.eval(), numerics, clock))
    return {
        name: {
            "decode_tokens_per_second": median(speeds[name][1:]),
            "decode_prompt_tokens": _prompt_tokens(model),
        }
        for name, model in models.items()
    }


def synchronize(numerics: Numerics) -> None:
    """Wait until the device has done what it was given."""
    if numerics.device.type == "cuda":
        torch.cuda.synchronize(numerics.device)


def _forward_ms(model: Transformer, length: int, numerics: Numerics, clock: Clock) -> float:
    tokens = torch.zeros((1, length), dtype=torch.long, device=numerics.device)
    synchronize(numerics)
    begun = clock()
    with numerics.autocast():
        model(tokens)
    synchronize(numerics)
    return (clock() - begun) * 1e3


def _quantiles(milliseconds: list[float]) -> dict[str, float] | None:
    if not milliseconds:
        return None
    return {f"p{q}": float(np.percentile(milliseconds, q)) for q in (50, 95, 99)}


def _prompt_tokens(model: Transformer) -> int:
    return min(_PROMPT_TOKENS, model.shape.context_length // 2)


def _decode_speed(model: Transformer, numerics: Numerics, clock: Clock) -> float:
    prompt_tokens = _prompt_tokens(model)
    decoded_tokens = min(_DECODED_TOKENS, model.shape.context_length - prompt_tokens)
    prompt = torch.zeros((1, prompt_tokens), dtype=torch.long, device=numerics.device)
    cache = model.new_cache()
    with numerics.autocast():  # around the whole loop: it casts the weights once, not for each token
        token = model(prompt, cache)[:, -1:].argmax(-1)  # (1, 1)
        synchronize(numerics)
        begun = clock()
        for _ in range(decoded_tokens):
            token = model(token, cache).argmax(-1)
        synchronize(numerics)
    return decoded_tokens / (clock() - begun)
