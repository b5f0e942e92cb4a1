"""From ranked stages to finalists: which variant a stage is won by, and who goes to the final of all of them.

Always holds: pure functions of the plan and of scores; a variant that comes to the same model and training as one
chosen already is not chosen again; the baseline of the first stage is always a finalist.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from paramalloc.config import Variant
from paramalloc.plan import Plan
from paramalloc.statistics.noise import SeedNoise, contenders
from paramalloc.sweep.runbook.selection import Promotion, RankedRun, promote

Best = Mapping[str, RankedRun]  # each variant's best ranking run


@dataclass(frozen=True)
class StageWinner:
    """The variant that a stage is won by, those that noise does not tell from it, and a sentence about them.

    `within_noise`: None where the noise of a ranking run is not known.
    """

    variant: str
    within_noise: tuple[str, ...] | None
    text: str


def stage_winner(best: Best, baseline: str, noise: SeedNoise | None) -> StageWinner:
    """The variant with the lowest perplexity, the baseline of equals.

    Args:
        noise: of a ranking run; what is within two standard errors of a difference is not told apart.
    """
    winner = min(best, key=lambda name: (best[name].dev_ppl, name != baseline, name))
    text = f"{winner} goes on at {best[winner].dev_ppl:.2f}"
    if winner == baseline:
        text = f"{winner}, the baseline, is the best at {best[winner].dev_ppl:.2f} and goes on"
    else:
        text += f", {1 - best[winner].dev_ppl / best[baseline].dev_ppl:.1%} below the baseline {baseline}"
    if noise is None:
        return StageWinner(winner, None, text)
    logs = {name: math.log(run.dev_ppl) for name, run in best.items()}
    close = tuple(name for name in contenders(logs, noise, len(logs)) if name != winner)
    if close:
        text += f"; seed noise does not tell {' and '.join(close)} from it"
    return StageWinner(winner, close, text)


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
