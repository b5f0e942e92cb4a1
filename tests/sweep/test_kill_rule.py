"""The kill rule as a function of curves: who dies, where, and that nothing else matters."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from paramalloc.sweep.rules.kill_rule import MARGIN, NOT_FINITE, Kill, KillRule

INTERVAL = 250
FOLLOWERS = ("a", "b", "c", "ahead", "close", "comeback", "late", "odd", "t")


def rule(window: int = 1000) -> KillRule:
    return KillRule(dict.fromkeys(FOLLOWERS, "base"), margin_ppl=0.5, window_tokens=window)


def curve(*ppls: float) -> list[tuple[int, float]]:
    return [(INTERVAL * (i + 1), ppl) for i, ppl in enumerate(ppls)]


def feed(rule: KillRule, trial: str, points: list[tuple[int, float]]) -> list[Kill]:
    return [kill for tokens, ppl in points for kill in rule.observe(trial, tokens, ppl)]


BASELINE = curve(20, 18, 16, 15, 14, 13, 12, 11)


def test_a_trial_dies_when_the_whole_window_was_bad_and_not_before() -> None:
    judge = rule()
    feed(judge, "base", BASELINE)
    late = [(tokens, ppl + 0.5) for tokens, ppl in BASELINE]
    kills = feed(judge, "late", late[:4])
    assert kills == []
    (kill,) = feed(judge, "late", late[4:])
    assert kill == Kill("late", "margin", 1250, 14.5, "base", 14, 0.5, 1000)


def test_just_under_the_margin_is_never_killed() -> None:
    judge = rule()
    feed(judge, "base", BASELINE)
    assert feed(judge, "close", [(tokens, ppl + 0.499) for tokens, ppl in BASELINE]) == []


def test_one_good_evaluation_begins_the_window_anew() -> None:
    judge = rule()
    feed(judge, "base", BASELINE)
    points = [(tokens, ppl + (0.0 if tokens == 1000 else 3.0)) for tokens, ppl in BASELINE]
    assert feed(judge, "comeback", points) == []  # bad from 1250 to 2000 only: 750 tokens


def test_a_point_beyond_the_baseline_waits_and_is_judged_when_it_gets_there() -> None:
    judge = rule()
    assert feed(judge, "ahead", [(tokens, ppl + 1) for tokens, ppl in BASELINE]) == []
    kills = [feed(judge, "base", [point]) for point in BASELINE]
    assert [len(each) for each in kills] == [0, 0, 0, 0, 1, 0, 0, 0]
    assert kills[4][0].tokens == 1250


@pytest.mark.parametrize("seed", range(20))
def test_the_verdict_does_not_depend_on_the_order_of_arrival(seed: int) -> None:
    draw = random.Random(seed)
    curves = {
        name: curve(*(10 + draw.choice([0.0, 0.4, 0.6, 2.0]) for _ in range(12))) for name in ("base", "a", "b", "c")
    }
    verdicts = []
    for order in itertools.islice(itertools.permutations(curves), 0, 24, 5):
        judge = rule(window=750)
        waiting = {name: list(points) for name, points in curves.items()}
        while any(waiting.values()):  # interleaved at random, each curve in its own order
            name = draw.choice([name for name in order if waiting[name]])
            judge.observe(name, *waiting[name].pop(0))
        verdicts.append(judge.kills)
    assert all(verdict == verdicts[0] for verdict in verdicts)


def test_repeated_points_after_a_restart_change_nothing() -> None:
    judge = rule()
    feed(judge, "base", BASELINE)
    points = [(tokens, ppl + 1) for tokens, ppl in BASELINE]
    feed(judge, "t", points[:3])
    assert feed(judge, "t", points[1:3]) == []
    (kill,) = feed(judge, "t", points[3:])
    assert kill.tokens == 1250


def test_a_loss_that_is_not_finite_kills_at_once_even_the_baseline() -> None:
    judge = rule()
    for trial in ("base", "t"):
        (kill,) = judge.observe(trial, 250, math.nan)
        assert (kill.reason, kill.tokens) == ("not_finite", 250)


def test_the_baseline_is_not_killed_by_the_margin() -> None:
    judge = rule(window=250)
    assert feed(judge, "base", curve(10, 50, 90, 200)) == []


def test_other_batch_sizes_are_compared_with_the_baseline_evaluation_before_in_the_trials_favour() -> None:
    judge = rule(window=250)
    feed(judge, "base", curve(20, 10, 9, 8))
    # At 400 tokens the baseline's known value is that of 250 tokens, 20; at 650 that of 500, 10.
    assert feed(judge, "odd", [(400, 20.4), (650, 10.4)]) == []
    (kill,) = feed(judge, "odd", [(700, 10.6), (960, 9.6)])
    assert (kill.tokens, kill.baseline_ppl) == (960, 9)


def test_points_past_the_last_of_a_finished_baseline_are_judged_by_that() -> None:
    judge = rule(window=250)
    feed(judge, "base", curve(20, 10))
    assert feed(judge, "odd", [(250, 30.0), (510, 30.0)]) == []
    (kill,) = judge.ended("base")
    assert (kill.tokens, kill.baseline_ppl) == (510, 10)


def test_points_before_the_baselines_first_evaluation_are_passed_over_and_hold_up_nothing() -> None:
    judge = rule(window=500)
    feed(judge, "base", curve(20, 20, 20, 20, 20))
    (kill,) = feed(judge, "odd", [(200, 90.0), (450, 90.0), (700, 90.0), (950, 90.0)])
    assert (kill.tokens, kill.for_tokens) == (950, 500)


def test_work_that_was_lost_is_judged_by_its_second_doing() -> None:
    """On a GPU the repetition is not the same to the last digit, and history keeps the second."""
    judge = rule()
    feed(judge, "t", [(250, 30.0), (500, 30.0), (750, 30.0)])
    judge.rewind("t", 250)
    feed(judge, "t", [(500, 14.0), (750, 30.0), (1000, 30.0), (1250, 30.0)])
    assert feed(judge, "base", BASELINE) == []


def test_each_trial_is_measured_against_its_own_baseline_run() -> None:
    judge = KillRule({"low": "base-low", "high": "base-high"}, margin_ppl=0.5, window_tokens=250)
    feed(judge, "base-low", curve(50, 50, 50))
    feed(judge, "low", curve(40, 40, 40))
    feed(judge, "high", curve(40, 40, 40))
    assert judge.kills == {}  # the baseline's other run, at 50, is no measure for `high`
    kills = feed(judge, "base-high", curve(10, 10, 10))
    assert [(kill.trial, kill.baseline) for kill in kills] == [("high", "base-high")]
    assert judge.ended("base-low") == []


def test_a_divergence_does_not_stand_where_the_trial_turns_out_to_have_lost_before() -> None:
    rule = KillRule({"a": "base", "b": "base"}, margin_ppl=0.5, window_tokens=1_000)
    for trial, ppl in (("a", 20.0), ("b", 10.0)):
        for tokens in (1_000, 2_000):
            assert rule.observe(trial, tokens, ppl) == []
        assert [kill.reason for kill in rule.observe(trial, 3_000, math.nan)] == [NOT_FINITE]
    found = [kill for tokens in (1_000, 2_000, 3_000) for kill in rule.observe("base", tokens, 10.0)]
    assert [(kill.trial, kill.reason, kill.tokens) for kill in found] == [("a", MARGIN, 2_000)]
    assert {trial: kill.reason for trial, kill in rule.kills.items()} == {"a": MARGIN, "b": NOT_FINITE}
