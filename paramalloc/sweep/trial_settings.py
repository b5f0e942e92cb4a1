"""config.yaml of a trial: what makes it this one run, written when it begins and read by whoever closes it later.

Always holds: the variant's knobs stand at the top, what belongs to this one run of it under `run`.
"""

from __future__ import annotations

from typing import Any

import yaml

from paramalloc.plan import Plan
from paramalloc.results import TrialFolder
from paramalloc.sweep.tasks import TrialTask


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


def ran_on(folder: TrialFolder) -> dict[str, Any]:
    """Device and precision of a trial that an earlier driver has run and not closed; empty if there is none."""
    if not folder.config.exists():
        return {}
    return dict(yaml.safe_load(folder.config.read_text(encoding="utf-8"))["run"])
