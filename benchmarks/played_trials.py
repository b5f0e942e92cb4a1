"""What trials report to the driver, made up: for benchmarks and tests of everything around the training.

Always holds: the payloads have the shape of those of `paramalloc.sweep.trials.work`; nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]
STEP_TOKENS = 128


def started(node: str, share: float, tokens: int = 0, history: Sequence[Json] = ()) -> Json:
    """An attempt begins on a node, of which it holds a share, with the evaluations that its checkpoint knows."""
    about = {"device": "cpu", "precision": "fp32", "resumed_at_tokens": tokens, "history": list(history)}
    return {"kind": "started", "node": node, "share": share} | about


def row(tokens: int, ppl: float, seconds: float | None = None) -> Json:
    """A line of history.jsonl. `seconds`: of training so far, default a thousand tokens per second."""
    return {
        "step": tokens // STEP_TOKENS,
        "tokens": tokens,
        "train_loss": 1.0,
        "dev_ppl": ppl,
        "dev_ppl_per_baseline_token": ppl,
        "training_seconds": tokens / 1000 if seconds is None else seconds,
    }


def evaluation(tokens: int, ppl: float, seconds: float | None = None) -> Json:
    return {"kind": "evaluation", "row": row(tokens, ppl, seconds)}


def finished(ppl: float) -> Json:
    """The trial's last word, with the same score of everything."""
    scores = {f"{split}_{name}": ppl for split in ("dev", "test") for name in ("loss", "ppl", "bpb", "word_ppl")}
    scores |= {"dev_ppl_per_baseline_token": ppl, "test_ppl_per_baseline_token": ppl}
    measured = {"latency_ms": None, "tokens_per_second": 5.0, "peak_memory_mb": None}
    return {"kind": "finished", "scores": scores} | measured


def preempted(tokens: int, reason: str) -> Json:
    """The trial has left its machine for a spot notice, with everything saved."""
    return {"kind": "preempted", "tokens": tokens, "by_notice": True, "reason": reason}
