"""metrics.json: everything known of one trial, in one flat, strict, versioned document.

Always holds: a value that was not measured is null, never 0; two undisturbed or disturbed runs of the same trial
differ only in `paramalloc.results.MEASURED_FIELDS`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from paramalloc.allocation import flops_per_token
from paramalloc.config import SweepConfig
from paramalloc.plan import VariantPlan
from paramalloc.results import SCHEMA_VERSION
from paramalloc.sweep.trials.tasks import TrialTask
from paramalloc.sweep.trials.work import SweepData

_SCORES = ("dev_loss", "dev_ppl", "dev_bpb", "dev_word_ppl", "dev_ppl_per_baseline_token")
_INTERVALS = ("dev_ppl_ci95", "dev_bpb_ci95", "dev_word_ppl_ci95")
_TEST_SCORES = tuple(name.replace("dev", "test", 1) for name in (*_SCORES, *_INTERVALS))
# Of a separate measurement once training is over; a trial's own latency and memory are seen among its neighbours.
_PROFILE = (
    "decode_prompt_tokens",
    "decode_tokens_per_second",
    "training_tokens_per_second",
    "forward_flops_per_token",
    "train_flops_per_token",
    "mfu",
    "other_load_cores",
)


@dataclass(frozen=True)
class Outcome:
    """How a trial ended: `status` finished, killed, diverged or failed, with what it had measured by then.

    `ran_on`: of one that was killed at `tokens` after it had trained on: how far it came (`tokens`), and what it
    scored on all of dev (`dev_ppl_per_baseline_token`), null unless it had come to its end.
    """

    status: str
    tokens: int
    last_evaluation: dict[str, Any] | None
    finished: dict[str, Any] | None  # what a finished trial reported last
    device: str | None
    precision: str | None
    wall_seconds: float
    lost_seconds: float | None
    preemptions: int
    cost_usd: float | None
    ran_on: dict[str, Any] | None = None


def trial_metrics(
    config: SweepConfig,
    task: TrialTask,
    planned: VariantPlan,
    data: SweepData,
    outcome: Outcome,
    versions: dict[str, str | None],
) -> dict[str, Any]:
    """The content of metrics.json. Scores on all of dev and test are there for finished trials only."""
    shape, tokens = task.run.shape, data.token_sets[task.run.shape.vocab_size]
    finished = outcome.finished or {}
    scores = finished.get("scores", {})
    last = outcome.last_evaluation or {}
    return {
        "schema_version": SCHEMA_VERSION,
        "sweep": config.name,
        "stage": task.stage,
        "trial": task.name,
        "variant": task.variant,
        "seed": task.seed,
        "status": outcome.status,
        "same_run_as": None,  # `stage/trial` of an equal run that these numbers were taken from
        "config_hash": config_hash(config, planned),
        "tokenizer_hash": tokens.tokenizer_hash,
        **versions,
        "device": outcome.device,
        "precision": outcome.precision,
        "embedding_ratio": planned.variant.model.embedding_ratio,
        "vocab_size": shape.vocab_size,
        "context_length": shape.context_length,
        "tied": shape.tied,
        "d_model": shape.d_model,
        "n_layers": shape.n_layers,
        "n_heads": shape.n_heads,
        "d_ff": shape.d_ff,
        "total_params": shape.total_params,
        "params": shape.params_by_component(),
        "embedding_share": shape.embedding_share,
        "glu_expansion": shape.glu_expansion,
        "learning_rate": task.run.learning_rate,
        "tokens": outcome.tokens,
        "ran_on": outcome.ran_on,
        "train_flops": flops_per_token(shape) * outcome.tokens,
        "epochs_over_corpus": outcome.tokens / len(tokens.train),
        "train_loss": last.get("train_loss"),
        **{name: scores.get(name) for name in (*_SCORES, *_INTERVALS, *_TEST_SCORES)},
        "last_evaluation": outcome.last_evaluation,
        "smallbench": finished.get("smallbench"),
        "skipped_steps": finished.get("skipped_steps", last.get("skipped_steps")),
        "latency_ms": finished.get("latency_ms"),
        "tokens_per_second": finished.get("tokens_per_second"),
        "peak_memory_mb": finished.get("peak_memory_mb"),
        "profiled_alone": None,  # measured separately: whether nothing else ran; null: measured during the trial
        **dict.fromkeys(_PROFILE),
        "wall_seconds": outcome.wall_seconds,
        "lost_seconds": outcome.lost_seconds,
        "preemptions": outcome.preemptions,
        "cost_usd": outcome.cost_usd,
    }


def config_hash(config: SweepConfig, planned: VariantPlan) -> str:
    """SHA-256 over everything that shapes a trial's numbers: text, model, training and budgets, not where it ran."""
    relevant = {
        "data": config.data.model_dump(mode="json", exclude={"cache_dir", "licence"}),
        "variant": planned.variant.model_dump(mode="json"),
        "ranking": config.ranking.model_dump(mode="json", exclude={"noise_seeds", "audit"}),
        "finalists": config.finalists.model_dump(mode="json", include={"eval_interval_tokens"}),
        "evaluation": config.evaluation.model_dump(mode="json", exclude={"latency_runs"}),
    }
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()
