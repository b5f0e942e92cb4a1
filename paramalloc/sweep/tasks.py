"""Trials as plain data: what a stage has to train, in the order in which it should be started.

Always holds: the baseline comes first; a trial's name is unique within its stage and names its folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from paramalloc.plan import Plan
from paramalloc.results import FINALISTS, RANKING
from paramalloc.training.run import TrainingRun


@dataclass(frozen=True)
class TrialTask:
    """One training run of one variant within a stage."""

    stage: str
    name: str
    variant: str
    run: TrainingRun
    is_baseline: bool
    keep_best: bool

    @property
    def seed(self) -> int:
        return self.run.seed

    @property
    def budget_tokens(self) -> int:
        return self.run.total_steps * self.run.step_tokens


def ranking_tasks(plan: Plan) -> list[TrialTask]:
    """Every variant once, at the ranking budget."""
    baseline = plan.baseline.name
    return [
        TrialTask(RANKING, item.name, item.name, item.ranking, item.name == baseline, keep_best=False)
        for item in plan.variants
    ]


def finalist_tasks(plan: Plan, variants: Iterable[str]) -> list[TrialTask]:
    """The promoted variants at the full budget, once for each seed; a seed means the same data order for all."""
    baseline = plan.baseline.name
    return [
        TrialTask(
            FINALISTS,
            f"{name}-seed{seed}",
            name,
            replace(plan[name].final, seed=seed),
            name == baseline,
            keep_best=True,
        )
        for seed in plan.config.finalists.seeds
        for name in variants
    ]
