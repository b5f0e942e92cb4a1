"""Kill audit: which killed trial is trained again to its end, and whether stopping it was right.

Always holds: pure functions of the rows of decisions.jsonl; the one audited is the most doubtful kill, so that a rule
that was right about it was hardly wrong about the others; a difference that seed noise hides decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from paramalloc.statistics.noise import SeedNoise
from paramalloc.sweep.runbook.decisions import AUDIT, KILL, Row


def to_audit(rows: Sequence[Row]) -> Row | None:
    """The `kill` row of the trial that was audited or is to be: the one that was least behind its baseline.

    Where a rule knows no baseline, the one with the lowest perplexity when it was stopped.
    """
    done = {(row["of_stage"], row["trial"]) for row in rows if row["decision"] == AUDIT}
    kills = [row for row in rows if row["decision"] == KILL]
    again = [row for row in kills if (row["stage"], row["trial"]) in done]
    return min(again or kills, key=lambda row: (_behind(row), row["stage"], row["trial"]), default=None)


def is_audited(rows: Sequence[Row]) -> bool:
    return any(row["decision"] == AUDIT for row in rows)


def audit_row(
    kill: Row, dev_ppl: float | None, baseline: str, baseline_dev_ppl: float, noise: SeedNoise | None
) -> Row:
    """The `audit` row: a kill was right where the trial ends no better than the stage's baseline.

    `kill_was_right` is None where both end within two standard errors of each other.

    Args:
        dev_ppl: per token of the baseline's tokenizer, on all of dev; None where it diverged on the way.
        noise: of one run at the ranking's budget; where it is not known, the two runs are taken as they are.
    """
    right: bool | None = dev_ppl is None or dev_ppl >= baseline_dev_ppl
    ended, caveat = "diverged", ""
    if dev_ppl is not None:
        ended = f"ended at {dev_ppl:.2f} PPL"
        caveat = "" if noise else ", as far as one seed of each tells"
        if noise and abs(math.log(dev_ppl / baseline_dev_ppl)) <= noise.reach:
            right = None
    found = f"the kill was {'right' if right else 'wrong'}{caveat}"
    if right is None:
        found = "whether the kill was right is hidden by seed noise"
    return {
        "trial": kill["trial"],
        "variant": kill["variant"],
        "of_stage": kill["stage"],
        "dev_ppl": dev_ppl,
        "baseline": baseline,
        "baseline_dev_ppl": baseline_dev_ppl,
        "kill_was_right": right,
        "text": f"audit: {kill['trial']}, trained again to its end, {ended}, its stage's baseline {baseline} at "
        f"{baseline_dev_ppl:.2f}: {found}",
    }


def _behind(kill: Row) -> float:
    return float(kill["dev_ppl"] / kill.get("baseline_dev_ppl", 1.0))
