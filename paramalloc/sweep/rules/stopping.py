"""What a stopping rule is: it takes in points of learning curves and says which trials have to stop.

Always holds: a verdict once reached stands and is in `kills`; a point that was seen before changes nothing; a rule
can be rebuilt by feeding it the curves again, each in its own order. `KillRule`, `SuccessiveHalving` and
`NeverStop` are such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from paramalloc.config import SweepConfig
from paramalloc.sweep.rules.asha import REDUCTION, SuccessiveHalving, halving_rungs
from paramalloc.sweep.rules.kill_rule import Kill, KillRule
from paramalloc.sweep.trials.tasks import TrialTask, baseline_of


class StoppingRule(Protocol):
    @property
    def kills(self) -> Mapping[str, Kill]:
        """The verdicts so far, by trial."""

    def observe(self, trial: str, tokens: int, ppl: float) -> list[Kill]:
        """Take in one evaluation; returns the verdicts it brought about, for whichever trials."""

    def rewind(self, trial: str, tokens: int) -> None:
        """Forget what a trial did after `tokens`: it lost that work and does it again."""

    def ended(self, trial: str) -> list[Kill]:
        """No further points of this trial will come; returns the verdicts that waited for them."""


class NeverStop:
    """The rule of a stage without one, for comparisons."""

    def __init__(self) -> None:
        self.kills: dict[str, Kill] = {}

    def observe(self, trial: str, tokens: int, ppl: float) -> list[Kill]:
        return []

    def rewind(self, trial: str, tokens: int) -> None:
        pass

    def ended(self, trial: str) -> list[Kill]:
        return []


def rule_for(config: SweepConfig, tasks: Sequence[TrialTask]) -> StoppingRule:
    """The rule that `ranking.stop` asks for, for the trials of one ranking stage.

    Successive halving leaves as many as may become finalists, and never stops the baseline for its rank.
    """
    ranking = config.ranking
    if ranking.stop == "kill_rule":
        return KillRule(baseline_of(tasks), ranking.kill_rule.margin_ppl, ranking.kill_rule.window_tokens)
    if ranking.stop == "asha":
        return SuccessiveHalving(
            [task.name for task in tasks],
            halving_rungs(ranking.tokens, REDUCTION),
            keep=config.most_promoted + 1,  # the baseline may be among the best
            protected=[task.name for task in tasks if task.is_baseline],
        )
    return NeverStop()
