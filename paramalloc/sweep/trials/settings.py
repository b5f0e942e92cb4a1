"""What is known of a trial when it begins, its config.yaml, and when it has ended, its outcome.

Always holds: in config.yaml the variant's knobs stand at the top, what belongs to this one run of it under `run`; a
trial that an earlier driver has run and not closed is closed with what that one wrote there.
"""

from __future__ import annotations

from typing import Any

import yaml

from paramalloc.files import read_json
from paramalloc.plan import Plan
from paramalloc.results import DIVERGED, FINISHED, JUDGED_BY, TrialFolder
from paramalloc.sweep.journal import Spent
from paramalloc.sweep.rules.kill_rule import Kill
from paramalloc.sweep.trials.metrics import Outcome
from paramalloc.sweep.trials.state import TrialState
from paramalloc.sweep.trials.tasks import TrialTask


def trial_settings(
    plan: Plan, task: TrialTask, tokenizer_hash: str, versions: dict[str, str | None]
) -> dict[str, Any]:
    """The content of config.yaml before it is known where the trial runs."""
    run = {
        "sweep": plan.config.name,
        "stage": task.stage,
        "trial": task.name,
        "seed": task.seed,
        "learning_rate": task.run.learning_rate,
        "tokens": task.budget_tokens,
        "tokenizer_hash": tokenizer_hash,
        **versions,
    }
    return plan[task.variant].variant.model_dump(mode="json") | {"run": run}


def outcome_of(
    trial: TrialState, status: str, tokens: int, spent: Spent, ran_on: dict[str, Any] | None = None
) -> Outcome:
    """How a trial ended, from what the driver knows of it and what its attempts took."""
    device = trial.started or _place(trial.folder)
    return Outcome(
        status=status,
        tokens=tokens,
        last_evaluation=trial.rows[-1] if trial.rows else None,
        finished=trial.finished,
        device=device.get("device"),
        precision=device.get("precision"),
        wall_seconds=spent.wall_seconds,
        lost_seconds=spent.lost_seconds,
        preemptions=spent.preemptions,
        cost_usd=spent.cost_usd,
        ran_on=ran_on,
    )


def ran_on_of(trial: TrialState, kill: Kill) -> dict[str, Any] | None:
    """How far a trial came past the point where it lost, and its score there if it had ended."""
    ended: dict[str, Any] = (trial.finished or {}).get("scores", {})
    if trial.status in (FINISHED, DIVERGED):
        ended = read_json(trial.folder.metrics)
    tokens, score = max(trial.tokens, ended.get("tokens", 0)), ended.get(JUDGED_BY)
    return {"tokens": tokens, JUDGED_BY: score} if score is not None or tokens > kill.tokens else None


def up_to(tokens: int, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["tokens"] <= tokens]


def _place(folder: TrialFolder) -> dict[str, Any]:
    """Device and precision of a trial that an earlier driver has run and not closed; empty if there is none."""
    if not folder.config.exists():
        return {}
    return dict(yaml.safe_load(folder.config.read_text(encoding="utf-8"))["run"])
