"""Successive halving as a function of curves: who is stopped where, and that the order of arrival does not matter."""

from __future__ import annotations

import math
import random

import pytest

from paramalloc.sweep.rules.asha import RUNG, RungKill, SuccessiveHalving, halving_rungs
from paramalloc.sweep.rules.kill_rule import NOT_FINITE

RUNGS = (200, 600)
GRID = range(100, 1000, 100)
Curves = dict[str, list[tuple[int, float]]]


def flat(**levels: float) -> Curves:
    return {name: [(tokens, level) for tokens in GRID] for name, level in levels.items()}


def rule(
    curves: Curves, protected: tuple[str, ...] = (), keep: int = 1, rungs: tuple[int, ...] = RUNGS
) -> SuccessiveHalving:
    return SuccessiveHalving(sorted(curves), rungs, reduction=2, keep=keep, protected=protected)


def stopped(judge: SuccessiveHalving) -> dict[str, int]:
    return {name: kill.tokens for name, kill in judge.kills.items()}


def feed(judge: SuccessiveHalving, curves: Curves, draw: random.Random) -> None:
    """All points, interleaved at random; a trial that is stopped may have run on for a while, as workers do."""
    waiting = {name: list(points) for name, points in curves.items()}
    while waiting:
        name = draw.choice(sorted(waiting))
        for _ in range(draw.randint(1, 4)):
            if waiting[name]:
                judge.observe(name, *waiting[name].pop(0))
        if not waiting[name] or name in judge.kills:
            judge.ended(name)
            del waiting[name]


def expected(curves: Curves, rungs: tuple[int, ...]) -> dict[str, int]:
    """Halving by the book, with everything known beforehand."""
    alive, out = sorted(curves), {}
    for number, rung in enumerate(rungs, start=1):
        at = {name: next((p for p in curves[name] if p[0] >= rung), None) for name in alive}
        alive = sorted((name for name in alive if at[name]), key=lambda name: (at[name][1], name))
        places = math.ceil(len(curves) / 2**number)
        out |= {name: at[name][0] for name in alive[places:]}
        alive = alive[:places]
    return out


def test_the_worse_half_stops_at_the_first_rung_and_half_of_the_rest_at_the_second() -> None:
    judge = rule(curves := flat(a=1, b=2, c=3, d=4))
    feed(judge, curves, random.Random(0))
    assert stopped(judge) == {"c": 200, "d": 200, "b": 600}
    assert judge.kills["b"] == RungKill("b", "rung", 600, 2, rung_tokens=600, places=1, field=4)


@pytest.mark.parametrize("seed", range(60))
def test_curves_decide_and_not_the_order_of_arrival(seed: int) -> None:
    draw = random.Random(seed)
    curves = {name: [(tokens, draw.choice([1.0, 2.0, 3.0, 4.0])) for tokens in GRID] for name in "abcdefg"}
    rungs = (200, 400, 600)
    curves["short"] = curves.pop("g")[:3]  # fails between the rungs
    for _ in range(6):
        judge = rule(curves, rungs=rungs)
        feed(judge, curves, draw)
        assert stopped(judge) == expected(curves, rungs)


def test_the_first_to_arrive_waits_and_is_stopped_afterwards() -> None:
    judge = rule(flat(a=1, b=1, late=9, z=1))
    assert judge.observe("late", 200, 9.0) == []
    assert judge.observe("a", 200, 1.0) == []
    assert judge.observe("late", 300, 9.0) == []
    (kill,) = judge.observe("b", 200, 1.0)
    assert (kill.trial, kill.tokens, kill.dev_ppl) == ("late", 200, 9.0)


def test_a_trial_that_may_itself_be_stopped_below_does_not_count_above() -> None:
    judge = SuccessiveHalving("abcd", (200, 600), reduction=2)
    for name, early, later in (("a", 2.0, 5.0), ("b", 3.0, 1.0)):
        judge.observe(name, 200, early)
        judge.observe(name, 600, later)
    assert judge.kills == {}  # b leads at 600, but c and d may both beat it at 200
    assert {kill.trial for kill in judge.observe("c", 200, 1.0)} == {"b"}
    judge.observe("d", 200, 9.0)
    assert stopped(judge) == {"b": 200, "d": 200}


def test_the_protected_stay_and_others_do_not_get_their_places() -> None:
    judge = rule(curves := flat(a=1, b=2, base=9, d=8), protected=("base",))
    feed(judge, curves, random.Random(1))
    assert stopped(judge) == {"d": 200, "b": 600}


def test_a_rung_keeps_as_many_as_are_wanted() -> None:
    judge = rule(curves := flat(a=1, b=2, c=3, d=4), keep=3)
    feed(judge, curves, random.Random(2))
    assert stopped(judge) == {"d": 200}


def test_a_loss_that_is_not_finite_stops_at_once_even_the_protected_and_frees_nobody() -> None:
    judge = rule(flat(a=1, b=1, c=1, d=1), protected=("a",))
    for name in ("a", "b"):
        (kill,) = judge.observe(name, 100, math.inf)
        assert (kill.reason, kill.tokens, kill.dev_ppl) == ("not_finite", 100, None)
    assert judge.observe("c", 200, 1.0) == judge.observe("d", 200, 5.0) == []  # two places, two left
    judge.observe("c", 600, 1.0)
    assert [kill.trial for kill in judge.observe("d", 600, 5.0)] == ["d"]


def test_those_who_will_not_come_are_not_waited_for() -> None:
    judge = rule(flat(a=1, b=1, c=1, d=1))
    for name, score in (("a", 1.0), ("b", 2.0)):
        judge.observe(name, 200, score)
        judge.observe(name, 600, score)
    judge.observe("c", 100, 1.0)
    assert judge.ended("c") == []
    (kill,) = judge.ended("d")
    assert (kill.trial, kill.tokens) == ("b", 600)


def test_work_that_was_lost_counts_by_its_second_doing_and_repetitions_change_nothing() -> None:
    judge = rule(flat(a=1, b=1, c=1, d=1))
    judge.observe("d", 200, 9.0)
    judge.rewind("d", 100)
    judge.observe("d", 200, 0.5)
    judge.observe("d", 200, 9.0)
    judge.observe("a", 200, 1.0)
    judge.observe("b", 200, 2.0)
    judge.observe("c", 200, 3.0)
    assert stopped(judge) == {"b": 200, "c": 200}


def test_a_coarser_grid_counts_with_its_first_evaluation_past_the_rung() -> None:
    judge = SuccessiveHalving("ab", (200,), reduction=2)
    judge.observe("a", 200, 1.0)
    judge.observe("b", 150, 0.1)
    (kill,) = judge.observe("b", 250, 2.0)
    assert (kill.tokens, kill.dev_ppl) == (250, 2.0)


def test_rungs_lie_below_the_budget() -> None:
    assert halving_rungs(9_000, 3) == [1_000, 3_000]
    assert halving_rungs(5_000_000, 2, first_rung_tokens=1_000_000) == [1_000_000, 2_000_000, 4_000_000]


@pytest.mark.parametrize("bad", [{"reduction": 1}, {"keep": 0}, {"rungs_tokens": (5, 5)}])
def test_settings_that_make_no_sense_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="reduction"):
        SuccessiveHalving(**{"field": "ab", "rungs_tokens": (5,)} | bad)


def test_a_divergence_does_not_stand_where_the_trial_turns_out_to_have_lost_at_a_rung_before() -> None:
    rule = SuccessiveHalving(["a", "b", "c"], [1_000], reduction=3)
    rule.observe("a", 1_000, 50.0)
    assert [kill.reason for kill in rule.observe("a", 2_000, math.nan)] == [NOT_FINITE]
    found = rule.observe("b", 1_000, 10.0)
    assert [(kill.trial, kill.reason, kill.tokens) for kill in found] == [("a", RUNG, 1_000)]
    rule.observe("b", 2_000, math.nan)
    rule.observe("c", 1_000, 20.0)
    assert {trial: kill.reason for trial, kill in rule.kills.items()} == {"a": RUNG, "b": NOT_FINITE, "c": RUNG}
