"""Simulated truth: whole selections on curves whose effects are known err as often as they claim, and no more."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import pytest

from paramalloc.config import FinalistsConfig
from paramalloc.statistics.comparison import BETTER, compare_all
from paramalloc.statistics.noise import seed_noise
from paramalloc.sweep.rules.kill_rule import KillRule
from paramalloc.sweep.runbook import selection
from paramalloc.sweep.runbook.selection import SeedScore, Verdict, decide, promote

SWEEPS = 2_000
RANKING_NOISE, NOISE, SEED_EFFECT = 0.006, 0.004, 0.02  # of log-perplexity: of a run, and of a seed on all alike
CHECKPOINTS = np.arange(1, 11) / 10  # of the ranking's budget
RULES = FinalistsConfig(count=2)
Draw = np.random.Generator


@pytest.fixture(autouse=True)
def _without_chances_of_being_best(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are drawn from a posterior for every verdict, which takes long, and decide nothing."""
    monkeypatch.setattr(selection, "compare_all", partial(compare_all, draws=1))


def curve(effect: float, common: float, draw: Draw) -> list[float]:
    """A power law on its way to e^3.4, off by the variant, the seed, the run and a little at every evaluation."""
    level = 3.4 + effect + common + draw.normal(0, RANKING_NOISE)
    wiggle = draw.normal(0, RANKING_NOISE / 3, len(CHECKPOINTS))
    return [math.exp(log) for log in level + 0.5 * CHECKPOINTS**-0.5 - 0.5 + wiggle]


def ranked(effects: Mapping[str, float], draw: Draw) -> dict[str, float]:
    """Final scores of those that the kill rule leaves, at a margin of 2.5 (about 8 %) over half the budget."""
    common = draw.normal(0, SEED_EFFECT)
    rule = KillRule(dict.fromkeys([name for name in effects if name != "base"], "base"), 2.5, 500)
    curves = {name: curve(effect, common, draw) for name, effect in effects.items()}
    for name, points in curves.items():
        for share, ppl in zip(CHECKPOINTS, points, strict=True):
            rule.observe(name, round(1000 * share), ppl)
    return {name: points[-1] for name, points in curves.items() if name not in rule.kills}


def final(names: tuple[str, ...], effects: Mapping[str, float], draw: Draw) -> Verdict:
    common = draw.normal(3.0, SEED_EFFECT, 3)
    noise = {name: draw.normal(0, NOISE, 3) for name in names}
    scores = {
        name: {
            seed: SeedScore(math.exp(common[seed] + effects[name] + noise[name][seed]), 1.0, 1.0) for seed in range(3)
        }
        for name in names
    }
    return decide(scores, "base", RULES)


def verdicts(effects: Mapping[str, float], sweeps: int = SWEEPS) -> Iterator[Verdict]:
    """Calibration with five seeds, ranking, promotion and final, again and again."""
    draw = np.random.default_rng(7)
    truth = {"base": 0.0, **effects}
    for _ in range(sweeps):
        noise = seed_noise([*draw.normal(0, RANKING_NOISE, 5)])
        names = promote(ranked(truth, draw), "base", RULES, noise).variants
        yield final(names, truth, draw)


def test_among_equals_hardly_any_challenger_is_called_better_although_the_luckiest_are_promoted() -> None:
    effects = dict.fromkeys(("a", "b", "c", "d", "e"), 0.0)
    false = [any(item.outcome == BETTER for item in verdict.comparisons) for verdict in verdicts(effects)]
    assert np.mean(false) <= 0.05
    assert np.mean(false) > 0.005  # it is no rule that never says better


def test_intervals_of_the_promoted_cover_the_truth_95_times_in_100() -> None:
    effects = {"a": -0.03, "b": -0.02, "c": 0.0, "d": 0.01, "hopeless": 0.25}
    covered = [
        item.low <= -math.expm1(effects[item.variant]) <= item.high
        for verdict in verdicts(effects)
        for item in verdict.comparisons
        if item.low is not None and item.high is not None
    ]
    assert len(covered) > SWEEPS
    assert 0.93 <= np.mean(covered) <= 0.97


def test_a_variant_that_is_better_than_asked_for_wins_and_one_that_is_not_seldom_does() -> None:
    effects = {"good": math.log(1 - 0.08), "fair": math.log(1 - 0.03), "hopeless": 0.25}
    winners = [verdict.winner for verdict in verdicts(effects, 300)]
    assert winners.count("good") > 0.9 * 300
    assert winners.count("fair") < 0.05 * 300
    assert "hopeless" not in winners
