"""The stopping rule's verdicts on one stage: what it is told, and each kill as one row of decisions.jsonl.

Always holds: a kill is written down once, however often the rule is rebuilt; a stage without a rule kills nobody.
"""

from __future__ import annotations

import math
from typing import Any

from paramalloc.files import append_jsonl, read_jsonl
from paramalloc.formats import millions
from paramalloc.results import JUDGED_BY
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.rules.asha import RungKill
from paramalloc.sweep.rules.kill_rule import Kill, KillRule
from paramalloc.sweep.rules.stopping import StoppingRule
from paramalloc.sweep.runbook.decisions import KILL, Row
from paramalloc.sweep.trials.tasks import TrialTask


class Verdicts:
    """A stopping rule and its record.

    Args:
        rule: fed with the stage's curves.
        journal: where kills are told, beside decisions.jsonl in its folder.
    """

    def __init__(self, rule: StoppingRule, journal: Journal) -> None:
        self.rule, self.journal = rule, journal
        kills = (row for row in read_jsonl(journal.folder.decisions) if row["decision"] == KILL)
        self._written = {(row.get("stage"), row.get("trial")) for row in kills}

    def on(self, trial: str) -> Kill | None:
        return self.rule.kills.get(trial)

    def judge(self, trial: str, row: dict[str, Any]) -> list[Kill]:
        """Take in an evaluation; this and all that follows returns the kills that it brought about."""
        return self.rule.observe(trial, row["tokens"], row[JUDGED_BY])

    def diverged(self, trial: str, tokens: int) -> list[Kill]:
        return self.rule.observe(trial, tokens, math.nan)

    def finished(self, trial: str) -> list[Kill]:
        return self.rule.ended(trial)

    def gave_up(self, task: TrialTask) -> list[Kill]:
        """It failed. A new session may try it again: nobody is judged by the half curve of a baseline."""
        return [] if task.is_baseline else self.rule.ended(task.name)

    def write(self, task: TrialTask, kill: Kill) -> None:
        """Record a kill and say it, unless an earlier session has."""
        if (task.stage, task.name) in self._written:
            return
        self._written.add((task.stage, task.name))
        about = {"stage": task.stage, "trial": task.name}
        why = _by_rank(kill) if isinstance(kill, RungKill) else _by_margin(kill, self.rule)
        row = {"decision": KILL, "time": self.journal.clock(), **about, "variant": task.variant, **why}
        append_jsonl(self.journal.folder.decisions, row)
        self.journal.tell("trial_killed", why["text"], **about)


def _by_margin(kill: Kill, rule: StoppingRule) -> Row:
    assert isinstance(rule, KillRule)
    assert kill.gap_ppl is not None
    assert kill.for_tokens is not None
    return {
        "tokens": kill.tokens,
        "dev_ppl": kill.dev_ppl,
        "baseline": kill.baseline,
        "baseline_dev_ppl": kill.baseline_ppl,
        "gap_ppl": kill.gap_ppl,
        "for_tokens": kill.for_tokens,
        "margin_ppl": rule.margin_ppl,
        "window_tokens": rule.window_tokens,
        "text": f"{kill.trial} killed at {millions(kill.tokens)} tokens: {kill.gap_ppl:.1f} above "
        f"{kill.baseline} for {millions(kill.for_tokens)} tokens",
    }


def _by_rank(kill: RungKill) -> Row:
    return {
        "tokens": kill.tokens,
        "dev_ppl": kill.dev_ppl,
        "rung_tokens": kill.rung_tokens,
        "places": kill.places,
        "field": kill.field,
        "text": f"{kill.trial} killed at {millions(kill.tokens)} tokens: not among the best {kill.places} of "
        f"{kill.field} trials at the rung of {millions(kill.rung_tokens)}",
    }
