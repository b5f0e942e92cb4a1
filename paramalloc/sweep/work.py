"""What one trial does, from its checkpoint to its final scores, without knowing who runs it.

Always holds: the same task on the same data gives the same scores, however often it was cut and carried on; what
it reports are plain dicts (`kind`: started, evaluation, finished, diverged), in that order.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paramalloc.config import EvaluationConfig
from paramalloc.data.prepare import HeldOut, TokenSet
from paramalloc.evaluation.perplexity import Score, perplexity, sample_documents, score
from paramalloc.evaluation.profile import PeakMemory, latency_ms
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics
from paramalloc.sweep.tasks import TrialTask
from paramalloc.training.checkpoint import CheckpointStore
from paramalloc.training.loop import Diverged, Row, Trainer
from paramalloc.training.run import TrainingRun

EVALUATION_SHARE = 0.05  # of a run's compute, at most, goes into scoring dev on the way
_MEMORY_ROUNDS = 6
_FORWARD_SHARE = 1 / 3  # of a training token's compute; backward is the other two thirds


@dataclass(frozen=True)
class SweepData:
    """The text of a sweep under each of its vocabularies, and the size of it in the baseline's tokens."""

    token_sets: Mapping[int, TokenSet]
    slices: Mapping[int, HeldOut]  # the same passages of dev under each tokenizer
    baseline_slice_tokens: int
    baseline_dev_tokens: int
    baseline_test_tokens: int


def make_sweep_data(token_sets: Mapping[int, TokenSet], baseline_vocab: int, eval_interval_tokens: int) -> SweepData:
    """Cut the dev slice so that scoring it every `eval_interval_tokens` costs at most 5 % of the training.

    The slice has at least one passage, up to about a thousand tokens, however short the interval.
    """
    baseline = token_sets[baseline_vocab]
    slice_tokens = EVALUATION_SHARE / _FORWARD_SHARE * eval_interval_tokens
    bytes_per_token = baseline.dev.bytes_per_document.sum() / len(baseline.dev.tokens)
    slices = {
        vocab: sample_documents(tokens.dev_passages, slice_tokens * bytes_per_token)
        for vocab, tokens in token_sets.items()
    }
    return SweepData(
        token_sets=token_sets,
        slices=slices,
        baseline_slice_tokens=len(slices[baseline_vocab].tokens),
        baseline_dev_tokens=len(baseline.dev.tokens),
        baseline_test_tokens=len(baseline.test.tokens),
    )


def run_trial(
    task: TrialTask,
    data: SweepData,
    evaluation: EvaluationConfig,
    checkpoints: CheckpointStore,
    numerics: Numerics,
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Train `task` to its end and measure it, telling `report` on the way.

    Errors: whatever training raises passes through, but a divergence, which is reported as one.
    """
    vocab_size = task.run.shape.vocab_size
    tokens = data.token_sets[vocab_size]

    def evaluate_slice(model: Transformer) -> Row:
        result = score(model, data.slices[vocab_size], tokens.end_of_text, numerics)
        return _scores("dev", result, data.baseline_slice_tokens)

    memory = PeakMemory(numerics.device)
    trainer = Trainer(task.run, tokens.train, evaluate_slice, numerics, checkpoints, keep_best=task.keep_best)
    report(
        {
            "kind": "started",
            "device": str(numerics.device),
            "precision": numerics.precision,
            "resumed_at_tokens": trainer.progress.step * task.run.step_tokens,
            "history": list(trainer.progress.history),
        }
    )
    try:
        trainer.train(lambda row: report({"kind": "evaluation", "row": row}))
    except Diverged as error:
        report({"kind": "diverged", "step": error.step, "tokens": error.step * task.run.step_tokens})
        return
    peak_mb = memory.mb()
    dev = score(trainer.model, tokens.dev, tokens.end_of_text, numerics)
    test = score(trainer.model, tokens.test, tokens.end_of_text, numerics)
    if not math.isfinite(dev.loss + test.loss):
        report({"kind": "diverged", "step": task.run.total_steps, "tokens": task.budget_tokens})
        return
    report(
        {
            "kind": "finished",
            "scores": {
                **_scores("dev", dev, data.baseline_dev_tokens),
                **_scores("test", test, data.baseline_test_tokens),
            },
            "latency_ms": latency_ms({task.name: trainer.model}, numerics, evaluation.latency_runs)[task.name],
            "tokens_per_second": trainer.tokens_per_second,
            "peak_memory_mb": peak_mb,
        }
    )


def profile_variants(
    runs: Mapping[str, TrainingRun], evaluation: EvaluationConfig, numerics: Numerics
) -> dict[str, dict[str, Any]]:
    """`latency_ms` and `peak_memory_mb` (of one training step) by variant, all in one process and under one load."""
    rounds = [{name: _step_memory_mb(run, numerics) for name, run in runs.items()} for _ in range(_MEMORY_ROUNDS)]
    memory = {name: _least([measured[name] for measured in rounds]) for name in runs}
    models = {name: Transformer(run.shape).to(numerics.device) for name, run in runs.items()}
    latency = latency_ms(models, numerics, evaluation.latency_runs)
    return {name: {"latency_ms": latency[name], "peak_memory_mb": memory[name]} for name in runs}


def _least(measured: list[float | None]) -> float | None:
    """Fragments of the heap and what a process needs only once add to a peak and never take from it."""
    return min((value for value in measured if value is not None), default=None)


def _step_memory_mb(run: TrainingRun, numerics: Numerics) -> float | None:
    text = np.zeros(run.step_tokens + run.shape.context_length + 1, dtype=np.uint16)
    memory = PeakMemory(numerics.device)
    with tempfile.TemporaryDirectory() as nowhere:
        Trainer(run, text, lambda model: {}, numerics, CheckpointStore(Path(nowhere))).take_step()
    return memory.mb()


def _scores(split: str, result: Score, baseline_tokens: int) -> Row:
    return {
        f"{split}_loss": result.loss,
        f"{split}_ppl": result.ppl,
        f"{split}_bpb": result.bpb,
        f"{split}_word_ppl": result.word_ppl,
        f"{split}_ppl_per_baseline_token": perplexity(result.nats / baseline_tokens),
    }
