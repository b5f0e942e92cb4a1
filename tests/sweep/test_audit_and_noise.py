"""What a noise calibration says, and which kill is audited and found right."""

from __future__ import annotations

import math
from statistics import stdev
from typing import Any

import pytest

from paramalloc.config import FinalistsConfig
from paramalloc.statistics.noise import SeedNoise
from paramalloc.sweep.runbook.audit import audit_row, is_audited, to_audit
from paramalloc.sweep.runbook.noise_stage import known_noise, noise_row

RULES = FinalistsConfig()


def kill(trial: str, **fields: Any) -> dict[str, Any]:
    return {"decision": "kill", "stage": "ranking", "trial": trial, "variant": trial} | fields


def by_margin(trial: str, ppl: float, baseline: float) -> dict[str, Any]:
    return kill(trial, dev_ppl=ppl, baseline_dev_ppl=baseline)


def test_the_most_doubtful_kill_is_audited() -> None:
    """600 against 500 is a fifth behind, 99 against 90 a tenth, although the gap is larger early on."""
    rows = [by_margin("early", 600.0, 500.0), by_margin("late", 99.0, 90.0), {"decision": "promote"}]
    assert to_audit(rows) == rows[1]
    by_rank = [kill("a", dev_ppl=30.0, rung_tokens=10), kill("b", dev_ppl=20.0, rung_tokens=10)]
    assert to_audit(by_rank) == by_rank[1]
    assert to_audit([{"decision": "promote"}]) is None


def test_the_trial_that_was_audited_stays_the_one_although_a_more_doubtful_kill_follows() -> None:
    first = by_margin("first", 110.0, 100.0)
    rows = [first, {"decision": "audit", **audit_row(first, 105.0, "base", 100.0, None)}]
    assert is_audited(rows)
    assert not is_audited(rows[:1])
    assert to_audit([*rows, by_margin("closer", 101.0, 100.0)]) == first


@pytest.mark.parametrize(("ppl", "right"), [(101.0, True), (100.0, True), (99.0, False), (None, True)])
def test_a_kill_was_right_unless_the_trial_ends_better_than_the_baseline(ppl: float | None, right: bool) -> None:
    row = audit_row(by_margin("wide", 120.0, 110.0), ppl, "base", 100.0, None)
    assert row["kill_was_right"] is right
    assert (row["trial"], row["dev_ppl"], row["baseline_dev_ppl"]) == ("wide", ppl, 100.0)
    assert ("right" if right else "wrong") in row["text"]
    assert ("as far as one seed of each tells" in row["text"]) is (ppl is not None)


@pytest.mark.parametrize(("ppl", "right"), [(103.0, True), (102.8, None), (97.3, None), (97.1, False), (None, True)])
def test_an_end_that_noise_hides_leaves_open_whether_a_kill_was_right(ppl: float | None, right: bool | None) -> None:
    """1 % noise of a run is 1.41 % of a difference, and two standard errors reach from 97.2 to 102.9."""
    row = audit_row(by_margin("wide", 120.0, 110.0), ppl, "base", 100.0, SeedNoise(0.01, 4))
    assert row["kill_was_right"] is right
    assert ("hidden by seed noise" in row["text"]) is (right is None)
    assert "one seed" not in row["text"]


def test_noise_is_said_for_each_budget_with_what_it_hides() -> None:
    scores = {"ranking": [100.0, 101.0, 102.0, 99.0, 98.0], "final": [50.0, 50.5, 50.2]}
    row = noise_row("base", scores, RULES)
    sd = stdev(math.log(score) for score in scores["ranking"])
    assert row["ranking"]["standard_deviation"] == pytest.approx(sd)
    assert (row["ranking"]["seeds"], row["ranking"]["df"], row["final"]["df"]) == (5, 4, 2)
    assert row["ranking"]["minimum_detectable_effect"] > 2 * sd
    assert f"{sd:.1%} at the ranking budget" in row["text"]
    noise = known_noise(row, "ranking")
    assert noise is not None
    assert noise.difference_error == pytest.approx(math.sqrt(2) * sd)


def test_noise_that_too_few_runs_show_is_not_made_up() -> None:
    row = noise_row("base", {"ranking": [100.0]}, RULES)
    assert row["ranking"] is row["final"] is known_noise(row, "final") is known_noise(None, "ranking") is None
    assert "not known" in row["text"]
