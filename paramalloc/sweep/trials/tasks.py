"""Trials as plain data: what a stage has to train, in the order in which it should be started.

Always holds: the baseline's trials come first; a trial's name is unique within its stage and names its folder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from paramalloc.plan import Plan, StagePlan, VariantPlan
from paramalloc.results import AUDIT, FINALISTS, NOISE
from paramalloc.training.run import Budget, TrainingRun


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
        return self.run.total_tokens


def ranking_tasks(stage: StagePlan, suggested: Mapping[str, float]) -> list[TrialTask]:
    """Every variant of a stage at the ranking budget, once for each of its learning rates.

    `suggested`: what the range test found for the variants with `learning_rate: auto`.
    """
    return [
        TrialTask(
            stage.name,
            item.name if len(rates) == 1 else f"{item.name}@lr{rate}",
            item.name,
            item.ranking.run(item.variant.training.seed, rate),
            item.name == stage.baseline.name,
            keep_best=False,
        )
        for item in stage.variants
        for rates in [learning_rates(item, suggested)]
        for rate in rates
    ]


def noise_tasks(plan: Plan, suggested: Mapping[str, float]) -> dict[str, list[TrialTask]]:
    """The baseline with each of `ranking.noise_seeds` at the first of its learning rates, by budget.

    What the final asks for as well is a task of the final, to be trained once. That can be known beforehand where the
    baseline has one learning rate.
    """
    item, rates = plan.baseline, learning_rates(plan.baseline, suggested)
    finals = finalist_tasks(plan, {item.name: rates[0]}) if len(rates) == 1 else []
    of_final = {task.seed: task for task in finals}

    def noise_task(kind: str, budget: Budget, seed: int) -> TrialTask:
        run = budget.run(seed, rates[0])
        return TrialTask(NOISE, f"{item.name}-{kind}-seed{seed}", item.name, run, True, keep_best=False)

    seeds = plan.config.ranking.noise_seeds
    return {
        "ranking": [noise_task("ranking", item.ranking, seed) for seed in seeds],
        "final": [of_final.get(seed) or noise_task("final", item.final, seed) for seed in seeds],
    }


def audit_task(killed: TrialTask) -> TrialTask:
    """A killed trial once more, under its own name, with nobody to stop it."""
    return replace(killed, stage=AUDIT)


def learning_rates(item: VariantPlan, suggested: Mapping[str, float]) -> tuple[float, ...]:
    """The peak learning rates that a variant is ranked at, in the order of the sweep file."""
    value = item.variant.training.learning_rate
    if value == "auto":
        return (suggested[item.name],)
    return value if isinstance(value, tuple) else (value,)


def baseline_of(tasks: Sequence[TrialTask]) -> dict[str, str]:
    """For each trial of a challenger, the baseline's trial that it is measured against.

    That is the one with the same seed, where there is one, and then with the nearest learning rate, as a ratio: a
    rate that starts slowly and ends well is not measured against one that starts fast. Of two as near, the lower.
    Where no baseline's trial is among them, nobody is measured.
    """

    def distance(base: TrialTask, task: TrialTask) -> tuple[bool, float, float]:
        own, other = base.run.learning_rate, task.run.learning_rate
        return base.seed != task.seed, abs(math.log(own / other)), own

    baselines = [task for task in tasks if task.is_baseline]
    return {
        task.name: min(baselines, key=lambda base: distance(base, task)).name
        for task in tasks
        if baselines and not task.is_baseline
    }


def finalist_tasks(plan: Plan, rates: Mapping[str, float]) -> list[TrialTask]:
    """The promoted variants at the full budget, once for each seed; a seed means the same data order for all.

    `rates`: the promoted variants, the baseline first, with the learning rate that each is trained at.
    """
    return [
        TrialTask(
            FINALISTS,
            f"{name}-seed{seed}",
            name,
            plan[name].final.run(seed, rate),
            name == plan.baseline.name,
            keep_best=True,
        )
        for seed in plan.config.finalists.seeds
        for name, rate in rates.items()
    ]
