"""What a sweep is to train in all and what of it is still to come, in tokens by (stage, trial).

Always holds: pure functions of the plan and of what trials have done; finalists that nobody has chosen yet have
made-up names, and are as many and as long as they may become: the reserve that the budget keeps for them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cost.rates import TrialName
from paramalloc.plan import Plan
from paramalloc.results import FINALISTS

if TYPE_CHECKING:
    from paramalloc.sweep.trial_state import TrialState


@dataclass(frozen=True)
class Outlook:
    """Tokens that each trial would train if nothing stopped it, and those that are still to be trained.

    `remaining_tokens`: None where nothing is known of what is to come; `reserved`: those of its trials that stand for
    finalists not chosen yet.
    """

    budget_tokens: dict[TrialName, int] = field(default_factory=dict)
    remaining_tokens: dict[TrialName, int] | None = None
    reserved: frozenset[TrialName] = frozenset()


def look_ahead(plan: Plan, trials: Iterable[TrialState], promoted: bool) -> Outlook:
    """The outlook while stages run.

    Args:
        trials: of all stages that have begun.
        promoted: whether the finalists are among them.
    """
    budget: dict[TrialName, int] = {}
    remaining: dict[TrialName, int] = {}
    for trial in trials:
        name = (trial.task.stage, trial.task.name)
        budget[name] = trial.task.budget_tokens
        if not trial.done:
            remaining[name] = max(0, trial.task.budget_tokens - trial.tokens)
    reserve = {} if promoted else finalist_reserve(plan)
    return Outlook(budget, remaining | reserve, frozenset(reserve))


def finalist_reserve(plan: Plan) -> dict[TrialName, int]:
    """Tokens of the most finalists there may be: the baseline and `finalists.count` challengers, all seeds."""
    challengers = sorted((item.final.total_tokens for item in plan.variants[1:]), reverse=True)
    chosen = {plan.baseline.name: plan.baseline.final.total_tokens}
    chosen |= {
        f"challenger{rank}": tokens for rank, tokens in enumerate(challengers[: plan.config.finalists.count], start=1)
    }
    return {
        (FINALISTS, f"{name}-seed{seed}"): tokens
        for seed in plan.config.finalists.seeds
        for name, tokens in chosen.items()
    }
