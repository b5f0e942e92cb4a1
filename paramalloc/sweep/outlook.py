"""What a sweep is to train in all and what of it is still to come, in tokens by (stage, trial).

Always holds: pure functions of the plan and of what trials have done; trials of stages that have not begun have
made-up names, and are as many and as long as they may become: the reserve that the budget keeps for them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cost.rates import TrialName
from paramalloc.plan import Plan, rates_tried
from paramalloc.results import AUDIT, FINALISTS

if TYPE_CHECKING:
    from paramalloc.sweep.trials.state import TrialState


@dataclass(frozen=True)
class Outlook:
    """Tokens that each trial would train if nothing stopped it, and those that are still to be trained.

    `remaining_tokens`: None where nothing is known of what is to come; `reserved`: those of its trials that stand for
    stages that have not begun; `variants`: of the others.
    """

    budget_tokens: dict[TrialName, int] = field(default_factory=dict)
    remaining_tokens: dict[TrialName, int] | None = None
    reserved: frozenset[TrialName] = frozenset()
    variants: dict[TrialName, str] = field(default_factory=dict)


def look_ahead(plan: Plan, trials: Iterable[TrialState], begun: Collection[str]) -> Outlook:
    """The outlook while stages run.

    Args:
        trials: of all stages that have begun, and of one that is trained ahead.
        begun: those stages, and those that turned out to have nothing to train.
    """
    budget: dict[TrialName, int] = {}
    remaining: dict[TrialName, int] = {}
    variants: dict[TrialName, str] = {}
    for trial in trials:
        if trial.task.stage not in begun and trial.started is None:
            continue  # it is in the reserve of its stage, whose turn has not come
        name = (trial.task.stage, trial.task.name)
        budget[name] = trial.task.budget_tokens
        if not trial.done:
            remaining[name] = max(0, trial.task.budget_tokens - trial.tokens)
            variants[name] = trial.task.variant
    kept = {name: tokens for name, tokens in reserve(plan, begun).items() if name not in budget}
    return Outlook(budget, remaining | kept, frozenset(kept), variants)


def reserve(plan: Plan, begun: Collection[str]) -> dict[TrialName, int]:
    """Tokens of all that may come after the stages that have begun."""
    found = {
        (stage.name, f"{item.name}-{run}"): item.ranking.total_tokens
        for stage in plan.stages
        if stage.name not in begun
        for item in stage.variants
        for run in range(rates_tried(item))
    }
    each = plan.baseline
    found |= {
        (plan.stages[-1].name, f"proposal{number}-{run}"): each.ranking.total_tokens
        for number in range(plan.to_come)
        for run in range(rates_tried(each))
    }
    if plan.config.ranking.audit and AUDIT not in begun:
        found[AUDIT, "killed"] = max(item.ranking.total_tokens for item in plan.variants)
    return found if FINALISTS in begun else found | finalist_reserve(plan)


def finalist_reserve(plan: Plan) -> dict[TrialName, int]:
    """Tokens of the most finalists there may be: the baseline and as many challengers, with all seeds."""
    known = [item.final.total_tokens for item in plan.variants[1:]]
    challengers = sorted([*known, *[plan.baseline.final.total_tokens] * plan.to_come], reverse=True)
    chosen = {plan.baseline.name: plan.baseline.final.total_tokens}
    chosen |= {
        f"challenger{rank}": tokens for rank, tokens in enumerate(challengers[: plan.most_challengers], start=1)
    }
    return {
        (FINALISTS, f"{name}-seed{seed}"): tokens
        for seed in plan.config.finalists.seeds
        for name, tokens in chosen.items()
    }
