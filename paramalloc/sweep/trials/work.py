"""What one trial does, from its checkpoint to its final scores, without knowing who runs it.

Always holds: the same task on the same data gives the same scores, however often it was cut and carried on; what
it reports are plain dicts (`kind`: started, then evaluation, at last finished, diverged or preempted).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from paramalloc.config import EvaluationConfig
from paramalloc.data.probes import ProbeTask
from paramalloc.data.token_set import HeldOut, TokenSet
from paramalloc.data.tokenizer import parse_tokenizer
from paramalloc.evaluation.bootstrap import confidence_intervals
from paramalloc.evaluation.perplexity import nats_per_document, sample_documents, score
from paramalloc.evaluation.profile import PeakMemory, latency_ms
from paramalloc.evaluation.smallbench.scoring import evaluate_smallbench
from paramalloc.evaluation.units import Score, perplexity
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics
from paramalloc.sweep.runbook.sanity import OVERFIT, Check
from paramalloc.sweep.trials.tasks import TrialTask
from paramalloc.telemetry import Telemetry
from paramalloc.training.checkpoint import CheckpointStore
from paramalloc.training.loop import Diverged, Preempted, Row, Trainer
from paramalloc.training.lr_find import lr_find
from paramalloc.training.overfit import OnStep, overfit

EVALUATION_SHARE = 0.05  # of a run's compute, at most, goes into scoring dev on the way
_FORWARD_SHARE = 1 / 3  # of a training token's compute; backward is the other two thirds


@dataclass(frozen=True)
class SweepData:
    """The text of a sweep under each of its vocabularies, its size in the baseline's tokens, and the probes."""

    token_sets: Mapping[int, TokenSet]
    tokenizers: Mapping[int, str]  # their JSON, since a worker may not see the driver's files
    probes: Sequence[ProbeTask]
    slices: Mapping[int, HeldOut]  # the same passages of dev under each tokenizer
    baseline_slice_tokens: int
    baseline_dev_tokens: int
    baseline_test_tokens: int


def make_sweep_data(
    token_sets: Mapping[int, TokenSet],
    baseline_vocab: int,
    eval_interval_tokens: int,
    probes: Sequence[ProbeTask] = (),
) -> SweepData:
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
        tokenizers={vocab: tokens.tokenizer_file.read_text() for vocab, tokens in token_sets.items()},
        probes=tuple(probes),
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
    open_curves: Callable[[int], Telemetry] = lambda step: Telemetry(),
    notice: Callable[[], str | None] = lambda: None,
) -> None:
    """Train `task` to its end and measure it, telling `report` on the way.

    `open_curves` is given the step that training carries on from. `notice` is asked at every step, and once before
    the final scores: a reason to leave this machine now ends the trial as preempted, to be carried on from its
    checkpoint after `step` steps.

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
        with closing(open_curves(trainer.progress.step)) as curves:
            trainer.train(lambda row: report({"kind": "evaluation", "row": row}), curves, notice)
        if (reason := notice()) is not None:  # the final checkpoint exists: what follows can be done elsewhere
            raise Preempted(trainer.progress.step, reason)
    except Diverged as error:
        report({"kind": "diverged", "step": error.step, "tokens": error.step * task.run.step_tokens})
        return
    except Preempted as error:
        kept = {"step": error.step, "tokens": error.step * task.run.step_tokens}
        report({"kind": "preempted", "reason": error.reason, **kept})
        return
    peak_mb = memory.mb()
    model = trainer.model
    scores = {
        **_final_scores("dev", model, tokens.dev, tokens.end_of_text, numerics, data.baseline_dev_tokens),
        **_final_scores("test", model, tokens.test, tokens.end_of_text, numerics, data.baseline_test_tokens),
    }
    if not math.isfinite(scores["dev_loss"] + scores["test_loss"]):
        report({"kind": "diverged", "step": task.run.total_steps, "tokens": task.budget_tokens})
        return
    report(
        {
            "kind": "finished",
            "scores": scores,
            "smallbench": _smallbench(model, data, numerics),
            "skipped_steps": trainer.progress.skipped_steps,
            "latency_ms": latency_ms({task.name: model}, numerics, evaluation.latency_runs)[task.name],
            "tokens_per_second": trainer.tokens_per_second,
            "peak_memory_mb": peak_mb,
        }
    )


def run_check(
    check: Check, data: SweepData, numerics: Numerics, on_step: OnStep = lambda step, loss: None
) -> dict[str, Any]:
    """The outcome of a sanity check as JSON; `passed` and `message` are always in it. Errors: UserError."""
    run = check.run
    tokens = data.token_sets[run.shape.vocab_size]
    try_out = overfit if check.kind == OVERFIT else lr_find
    result = try_out(run.shape, run.training, tokens.train, numerics, run.seed, on_step).as_json()
    about = {"variant": check.variant, "subject": check.subject(tokens.tokenizer_hash)}
    return result | about | {"message": f"{check.variant}: {result['message']}"}


def _final_scores(
    split: str, model: Transformer, held_out: HeldOut, end_of_text: int, numerics: Numerics, baseline_tokens: int
) -> Row:
    """All of a split, with 95 % intervals over its documents."""
    nats = nats_per_document(model, held_out, end_of_text, numerics)
    intervals = confidence_intervals(split, nats, held_out)
    return _scores(split, Score.of(nats, held_out), baseline_tokens) | intervals


def _smallbench(model: Transformer, data: SweepData, numerics: Numerics) -> dict[str, Any] | None:
    if not data.probes:
        return None
    vocab_size = model.shape.vocab_size
    end_of_text = data.token_sets[vocab_size].end_of_text
    tokenizer = parse_tokenizer(data.tokenizers[vocab_size])
    return evaluate_smallbench(model, tokenizer, data.probes, end_of_text, numerics)


def _scores(split: str, result: Score, baseline_tokens: int) -> Row:
    return {
        f"{split}_loss": result.loss,
        f"{split}_ppl": result.ppl,
        f"{split}_bpb": result.bpb,
        f"{split}_word_ppl": result.word_ppl,
        f"{split}_ppl_per_baseline_token": perplexity(result.nats / baseline_tokens),
    }
