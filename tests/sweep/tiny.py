"""A sweep that trains in a second, and what a test has to know to play its trials without Ray."""

from __future__ import annotations

from typing import Any

VERSIONS: dict[str, str | None] = {"git_sha": None, "torch_version": "2", "ray_version": "2"}
STARTED: dict[str, Any] = {
    "kind": "started",
    "device": "cpu",
    "precision": "fp32",
    "resumed_at_tokens": 0,
    "history": [],
    "node": "n1",
    "share": 0.5,
}
TINY: dict[str, Any] = {
    "name": "tiny",
    "data": {"corpus": "synthetic", "synthetic_bytes": 200_000},
    "model": {"total_params": 100_000, "vocab_size": 600, "context_length": 32},
    "experiments": [
        {"name": "base"},
        {"name": "wide", "glu_expansion": 4.0},
        {"name": "slow", "learning_rate": 1e-5},
    ],
    "training": {"tokens": 16_000, "batch_size": 4, "learning_rate": 6e-3, "checkpoint_seconds": 0.2},
    "ranking": {
        "tokens": 12_000,
        "eval_interval_tokens": 2_000,
        "kill_rule": {"margin_ppl": 5.0, "window_tokens": 4_000},
    },
    "finalists": {"count": 1, "seeds": [0, 1], "eval_interval_tokens": 4_000},
    "evaluation": {"latency_runs": 3},
}
# One worker at a time on the two CPUs of a test's Ray: half the processes to start, where it is all the same.
ONE_AT_A_TIME: dict[str, Any] = {"resources": {"cpus_per_trial": 2}}


def tiny_with(changes: dict[str, Any]) -> dict[str, Any]:
    """The tiny sweep as plain data, its sections updated with those of `changes`."""
    raw = dict(TINY)
    for section, values in changes.items():
        raw[section] = {**raw.get(section, {}), **values} if isinstance(values, dict) else values
    return raw
