"""Replays whose outcome is known by hand: tokens, regret, who survives, and what waiting costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from paramalloc.sweep.rules.asha import SuccessiveHalving
from paramalloc.sweep.rules.kill_rule import KillRule
from paramalloc.sweep.rules.recorded_curves import RecordedRun, Recording
from paramalloc.sweep.rules.replay import draw_arms, judge, replay, run_through
from paramalloc.sweep.rules.stopping import NeverStop


def arm(name: str, *ppls: float, interval: int = 10) -> RecordedRun:
    return RecordedRun(name, tuple((interval * (i + 1), ppl) for i, ppl in enumerate(ppls)))


BASE = arm("base", 9, 8, 7, 6)
GOOD = arm("good", 8, 7, 6, 5)
BAD = arm("bad", 11, 10, 9, 8)
LATE_BLOOMER = arm("late", 12, 11, 9, 3)
ARMS = [BASE, GOOD, BAD, LATE_BLOOMER]


def margin(arms: Sequence[RecordedRun]) -> KillRule:
    return KillRule({each.name: arms[0].name for each in arms[1:]}, margin_ppl=1, window_tokens=10)


def test_without_a_rule_all_is_trained_and_nothing_lost() -> None:
    outcome = judge(ARMS, NeverStop())
    assert (outcome.tokens_share, outcome.stopped, outcome.regret) == (1.0, 0, 0.0)
    assert outcome.best_survived


def test_the_kill_rule_saves_the_tokens_after_the_verdict_and_may_lose_the_best() -> None:
    outcome = judge(ARMS, margin(ARMS))
    assert outcome.tokens_share == (40 + 40 + 20 + 20) / 160
    assert (outcome.stopped, outcome.stopped_better) == (2, 1)
    assert not outcome.best_survived
    assert outcome.regret == pytest.approx(5 / 3 - 1)


def test_a_verdict_that_waits_for_another_trial_costs_what_was_trained_meanwhile() -> None:
    slow_baseline = [RecordedRun("base", ((40, 6.0),)), arm("bad", 9, 9, 9, 9)]
    outcome = judge(slow_baseline, SuccessiveHalving(["bad", "base"], [10], reduction=2))
    assert (outcome.tokens_share, outcome.stopped) == (1.0, 1)  # known to be worse only when both are through
    early = [RecordedRun("base", ((30, 6.0), (40, 6.0))), arm("bad", 9, 9, 9, 9)]
    assert run_through(early, SuccessiveHalving(["bad", "base"], [10], reduction=2), workers=2) == 40 + 30


def test_with_one_worker_each_waits_for_the_one_before() -> None:
    rule = SuccessiveHalving(["bad", "good"], [10], reduction=2)
    assert run_through([BAD, GOOD], rule, workers=1) == 40 + 40  # bad is through before good begins
    rule = SuccessiveHalving(["bad", "good"], [10], reduction=2)
    assert run_through([GOOD, BAD], rule, workers=1) == 40 + 10


def test_a_run_that_diverged_ends_there_and_does_not_survive() -> None:
    diverged = arm("diverged", 5, math.inf)
    assert run_through([BASE, diverged], NeverStop(), workers=2) == 40 + 20
    assert judge([BASE, diverged], NeverStop()).regret == 0
    assert judge([diverged], NeverStop()).regret is None


def recording(baselines: frozenset[str] = frozenset()) -> Recording:
    groups = (tuple(ARMS), (arm("x", 1), arm("y", 2)))
    return Recording(groups, (40, 10), baselines, {})


def test_draws_share_a_budget_and_are_those_of_the_seed() -> None:
    draws = list(draw_arms(recording(), arms=2, draws=200, seed=3))
    assert {draw.budget_tokens for draw in draws} == {10, 40}
    for draw in draws:
        names = {run.name for run in draw.arms}
        assert len(names) == 2
        assert names <= {"x", "y"} or names.isdisjoint({"x", "y"})
    assert draws == list(draw_arms(recording(), arms=2, draws=200, seed=3))
    assert draws != list(draw_arms(recording(), arms=2, draws=200, seed=4))


def test_a_known_baseline_comes_first_and_too_few_runs_are_an_error() -> None:
    draws = list(draw_arms(recording(frozenset({"base"})), arms=3, draws=20, seed=0))
    assert {draw.arms[0].name for draw in draws} == {"base"}
    for few in (5, 6):
        with pytest.raises(ValueError, match=f"no {few} runs"):
            list(draw_arms(recording(), arms=few, draws=1, seed=0))


def test_a_summary_is_the_mean_of_its_draws() -> None:
    draws = list(draw_arms(recording(frozenset({"base"})), arms=2, draws=400, seed=0))
    outcomes = [judge(draw.arms, margin(draw.arms)) for draw in draws]
    found = replay(draws, "kill", lambda arms, _: margin(arms))
    assert found.best_survives == sum(outcome.best_survived for outcome in outcomes) / 400
    assert found.best_survives == pytest.approx(2 / 3, abs=0.08)  # lost only when the late bloomer is drawn
    assert found.stopped_better == pytest.approx(1 / 2, abs=0.1)
    assert found.regret_95 == pytest.approx(1.0)
