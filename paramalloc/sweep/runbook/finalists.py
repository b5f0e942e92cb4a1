"""From ranked stages to finalists: which variant a stage is won by, and who goes to the final of all of them.

Always holds: pure functions of the plan and of scores; a variant that comes to the same model and training as one
chosen already is not chosen again; the baseline of the first stage is always a finalist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from paramalloc.config import Variant
from paramalloc.plan import Plan
from paramalloc.statistics.noise import SeedNoise
from paramalloc.sweep.runbook.selection import Promotion, RankedRun, promote

Best = Mapping[str, RankedRun]  # each variant's best ranking run


def stage_winner(best: Best, baseline: str) -> tuple[str, str]:
    """The variant with the lowest perplexity, the baseline of equals, and a sentence about it."""
    winner = min(best, key=lambda name: (best[name].dev_ppl, name != baseline, name))
    if winner == baseline:
        return winner, f"{winner}, the baseline, is the best at {best[winner].dev_ppl:.2f} and goes on"
    lead = 1 - best[winner].dev_ppl / best[baseline].dev_ppl
    return winner, f"{winner} goes on at {best[winner].dev_ppl:.2f}, {lead:.1%} below the baseline {baseline}"


def choose_finalists(plan: Plan, winners: Sequence[str], best: Best, noise: SeedNoise | None) -> Promotion:
    """The baseline, the winners of the stages before the last, and the best of the last.

    Args:
        winners: of the stages before the last, in their order.
        best: of the last stage, and the baseline's own.
        noise: of a ranking run, where it is known.
    """
    baseline = plan.baseline.name
    chosen = [plan.baseline.variant]
    for name in winners:
        if _is_new(plan[name].variant, chosen):
            chosen.append(plan[name].variant)
    rivals = [item.variant for item in plan.stages[-1].variants if item.name in best]
    scores = {item.name: best[item.name].dev_ppl for item in rivals if _is_new(item, chosen)}
    promotion = promote({baseline: best[baseline].dev_ppl, **scores}, baseline, plan.config.finalists, noise)
    earlier = [item.name for item in chosen[1:]]
    if not earlier:
        return promotion
    reason = f"{' and '.join(earlier)} won a stage before; {promotion.reason}"
    return replace(promotion, variants=(baseline, *earlier, *promotion.variants[1:]), reason=reason)


def _is_new(variant: Variant, chosen: Sequence[Variant]) -> bool:
    return not any(variant.is_as(other) for other in chosen)
