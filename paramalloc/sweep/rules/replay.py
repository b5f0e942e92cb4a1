"""A stopping rule replayed on recorded curves: what it would have saved, and what it would have lost.

Always holds: every rule is tried on the same draws of arms; the trials run on a virtual clock, one token per tick on
every worker, so that a verdict that waits for another trial costs what it would cost; nothing is random but the
draws, and those follow from the seed.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from paramalloc.statistics.comparison import EQUIVALENCE_MARGIN
from paramalloc.sweep.rules.recorded_curves import RecordedRun, Recording
from paramalloc.sweep.rules.stopping import StoppingRule

RuleOf = Callable[[Sequence[RecordedRun], int], StoppingRule]  # of the arms, the baseline first, and their budget


@dataclass(frozen=True)
class Draw:
    """Arms that are compared with each other, the baseline first, and the budget of each."""

    arms: tuple[RecordedRun, ...]
    budget_tokens: int


@dataclass(frozen=True)
class Outcome:
    """One draw under one rule. `regret`: the best survivor's final perplexity over the best arm's, less 1.

    It is None when nobody survived or no arm has a final perplexity.
    """

    tokens_share: float  # of the tokens that all arms were trained for
    stopped: int
    stopped_better: int  # of the stopped, those that end better than the baseline
    best_survived: bool
    as_good_survived: bool  # an arm that is within the equivalence margin of the best
    regret: float | None


@dataclass(frozen=True)
class Summary:
    """Means over draws, in shares of 1.

    `stopped_better`: of all stopped arms, the share that ends better than its baseline; None where none was stopped.
    `regret_95` is the 95th percentile; regrets are None where no draw has one.
    """

    rule: str
    draws: int
    arms: int
    tokens_share: float
    stopped_per_draw: float
    stopped_better: float | None
    best_survives: float
    as_good_survives: float
    mean_regret: float | None
    regret_95: float | None


def draw_arms(recording: Recording, arms: int, draws: int, seed: int) -> Iterator[Draw]:
    """Random sets of `arms` runs with one budget; the first is the baseline.

    Every run of a group that is large enough is the baseline equally often; where the recording names baselines, only
    those are. Errors: ValueError when no group has that many runs (and a baseline).
    """
    firsts = [
        (group, position)
        for group, runs in enumerate(recording.groups)
        if len(runs) >= arms
        for position, run in enumerate(runs)
        if not recording.baselines or run.name in recording.baselines
    ]
    if not firsts:
        raise ValueError(f"no {arms} runs, one of them a baseline, share a budget")
    generator = np.random.default_rng(seed)
    for _ in range(draws):
        group, first = firsts[generator.integers(len(firsts))]
        runs = recording.groups[group]
        others = [position for position in range(len(runs)) if position != first]
        chosen = [first, *generator.choice(others, arms - 1, replace=False).tolist()] if arms > 1 else [first]
        yield Draw(tuple(runs[position] for position in chosen), recording.budgets_tokens[group])


def replay(draws: Sequence[Draw], name: str, rule_of: RuleOf, workers: int | None = None) -> Summary:
    """One rule on all draws. `workers`: how many trials run at a time, None for all at once."""
    outcomes = [judge(draw.arms, rule_of(draw.arms, draw.budget_tokens), workers) for draw in draws]
    stopped = sum(outcome.stopped for outcome in outcomes)
    regrets = [outcome.regret for outcome in outcomes if outcome.regret is not None]
    return Summary(
        rule=name,
        draws=len(outcomes),
        arms=len(draws[0].arms),
        tokens_share=fmean(outcome.tokens_share for outcome in outcomes),
        stopped_per_draw=stopped / len(outcomes),
        stopped_better=sum(outcome.stopped_better for outcome in outcomes) / stopped if stopped else None,
        best_survives=fmean(outcome.best_survived for outcome in outcomes),
        as_good_survives=fmean(outcome.as_good_survived for outcome in outcomes),
        mean_regret=fmean(regrets) if regrets else None,
        regret_95=float(np.quantile(regrets, 0.95)) if regrets else None,
    )


def judge(arms: Sequence[RecordedRun], rule: StoppingRule, workers: int | None = None) -> Outcome:
    """Let the arms run under the rule, in their order, and see who is left."""
    used = run_through(arms, rule, workers or len(arms))
    best = min(arm.final_ppl for arm in arms)
    stopped = [arm for arm in arms if arm.name in rule.kills]
    left = [arm.final_ppl for arm in arms if arm not in stopped and math.isfinite(arm.final_ppl)]
    regret = min(left) / best - 1 if left else None
    return Outcome(
        tokens_share=used / sum(arm.tokens for arm in arms),
        stopped=len(stopped),
        stopped_better=sum(arm.final_ppl < arms[0].final_ppl for arm in stopped),
        best_survived=regret == 0,
        as_good_survived=regret is not None and regret <= EQUIVALENCE_MARGIN,
        regret=regret,
    )


def run_through(arms: Sequence[RecordedRun], rule: StoppingRule, workers: int) -> int:
    """Feed the rule the points of all arms as `workers` equally fast workers would. Returns the tokens trained."""
    waiting, running = deque(range(len(arms))), dict[int, int]()  # arm: when it started
    events: list[tuple[int, int, int]] = []  # when, which arm, which of its points
    position = {arm.name: index for index, arm in enumerate(arms)}
    now = used = 0
    while waiting or running:
        while waiting and len(running) < workers:
            arm = waiting.popleft()
            running[arm] = now
            heapq.heappush(events, (now + arms[arm].points[0][0], arm, 0))
        now, arm, point = heapq.heappop(events)
        if arm not in running:
            continue
        kills = rule.observe(arms[arm].name, *arms[arm].points[point])
        if point + 1 < len(arms[arm].points):
            heapq.heappush(events, (running[arm] + arms[arm].points[point + 1][0], arm, point + 1))
        else:
            used += now - running.pop(arm)
            kills += rule.ended(arms[arm].name)
        for stopped in {position[kill.trial] for kill in kills} & running.keys():
            used += now - running.pop(stopped)
    return used
