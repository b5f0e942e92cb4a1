"""Comparisons over seeds: known textbook cases, gaps, and by simulation that the error rates are what is claimed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from paramalloc.statistics.comparison import (
    BETTER,
    EQUIVALENT,
    UNDECIDED,
    UNKNOWN,
    WORSE,
    Table,
    compare_all,
    holm,
)

SWEEPS = 2_000
NOISE, SEED_EFFECT = 0.003, 0.02  # of log-perplexity: of one run, and of a seed on all variants alike
Scores = dict[str, dict[int, float]]


def by_seed(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def sweeps(effects: dict[str, float], seeds: int = 3) -> Iterator[Table]:
    """Simulated finals with known true effects, in log-perplexity, beside a baseline `base`."""
    draw = np.random.default_rng(20)
    for _ in range(SWEEPS):
        common = draw.normal(3.0, SEED_EFFECT, seeds)
        yield compare_all(
            {
                name: by_seed(*(common + effect + draw.normal(0, NOISE, seeds)))
                for name, effect in {"base": 0.0, **effects}.items()
            },
            "base",
            draws=1,
        )


def test_with_two_variants_it_is_the_paired_t_test() -> None:
    base, wide = [3.30, 3.35, 3.28, 3.31], [3.27, 3.31, 3.27, 3.25]
    effect = compare_all({"base": by_seed(*base), "wide": by_seed(*wide)}, "base").effects["wide"]
    expected = stats.ttest_rel(wide, base)
    assert effect.p_value == pytest.approx(expected.pvalue)
    low, high = expected.confidence_interval(0.95)
    assert (effect.low, effect.high) == pytest.approx((1 - math.exp(high), 1 - math.exp(low)))
    assert effect.improvement == pytest.approx(1 - math.exp(np.mean(wide) - np.mean(base)))


def test_noise_is_pooled_over_all_variants() -> None:
    scores = {"base": by_seed(1.0, 2.0, 3.1), "a": by_seed(1.2, 2.1, 3.0), "b": by_seed(0.9, 2.2, 3.3)}
    grid = np.array([list(runs.values()) for runs in scores.values()])
    residuals = grid - grid.mean(0) - grid.mean(1, keepdims=True) + grid.mean()
    table = compare_all(scores, "base")
    assert table.df == 4
    assert table.seed_sd == pytest.approx(math.sqrt((residuals**2).sum() / 4))
    assert table.effects["a"].difference.standard_error == pytest.approx(table.seed_sd * math.sqrt(2 / 3))


def test_a_seed_that_only_one_variant_finished_changes_nothing() -> None:
    scores: Scores = {"base": by_seed(1.0, 2.0, 3.1), "a": by_seed(1.2, 2.1)}
    paired = compare_all({"base": by_seed(1.0, 2.0), "a": by_seed(1.2, 2.1)}, "base").effects["a"]
    effect = compare_all(scores, "base").effects["a"]
    assert effect.seeds == (0, 1)
    assert (effect.improvement, effect.p_value) == pytest.approx((paired.improvement, paired.p_value))


def test_variants_that_share_no_seed_meet_through_a_third_or_not_at_all() -> None:
    scores: Scores = {"base": {0: 1.0, 1: 1.1}, "a": {2: 5.2, 3: 5.3}, "link": {0: 2.0, 1: 2.1, 2: 5.0, 3: 5.1}}
    effect = compare_all(scores, "base").effects["a"]
    assert effect.difference.estimate == pytest.approx(1.2)
    assert list(compare_all({name: scores[name] for name in ("base", "a")}, "base").effects) == []


@pytest.mark.parametrize("scores", [{"base": {0: 3.3}, "a": {0: 3.0}}, {"base": {0: 3.3, 1: 3.4}, "a": {1: 3.0}}])
def test_from_one_seed_nothing_can_be_said_but_the_difference(scores: Scores) -> None:
    table = compare_all(scores, "base")
    effect = table.effects["a"]
    assert effect.improvement > 0.25
    assert effect.outcome == UNKNOWN
    assert (effect.low, effect.high, effect.p_value, effect.p_holm, effect.p_equivalence) == (None,) * 5
    assert (table.probability_best, table.seed_sd) == (None, None)


def test_scores_that_never_vary_are_certain() -> None:
    table = compare_all({"base": by_seed(3, 4, 5), "a": by_seed(2.9, 3.9, 4.9), "same": by_seed(3, 4, 5)}, "base")
    assert (table.effects["a"].outcome, table.effects["same"].outcome) == (BETTER, EQUIVALENT)
    assert table.probability_best == {"base": 0, "a": 1, "same": 0}


def test_chance_of_being_best_is_the_t_tail_for_two_and_shared_by_equals() -> None:
    scores = {"base": by_seed(3.30, 3.35, 3.28), "a": by_seed(3.29, 3.33, 3.29)}
    table = compare_all(scores, "base")
    p = table.effects["a"].p_value
    assert p is not None
    assert table.probability_best is not None
    assert table.probability_best["a"] == pytest.approx(1 - p / 2, abs=0.01)
    even = compare_all({name: by_seed(3.1, 3.0, 3.2) for name in ("base", "a", "b", "c")}, "base").probability_best
    assert even == dict.fromkeys(("base", "a", "b", "c"), 0.25)


def test_holm_by_hand() -> None:
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03}) == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize("bad", [{"a": {0: 1.0}}, {"base": {0: math.nan}}])
def test_a_baseline_without_scores_and_scores_that_are_none_are_refused(bad: Scores) -> None:
    with pytest.raises(ValueError, match="base"):
        compare_all(bad, "base")


def test_the_interval_covers_the_truth_95_times_in_100() -> None:
    truth = {"a": -0.02, "b": 0.0, "c": 0.01}
    covered = [
        low <= 1 - math.exp(truth[name]) <= high
        for table in sweeps(truth)
        for name, effect in table.effects.items()
        for low, high in [(effect.low or 0, effect.high or 0)]
    ]
    assert 0.94 <= np.mean(covered) <= 0.96


def test_among_equals_any_false_better_or_worse_is_at_most_5_in_100() -> None:
    equals = dict.fromkeys("abcd", 0.0)
    families = [list(table.effects.values()) for table in sweeps(equals)]
    false = [any(effect.outcome in (BETTER, WORSE) for effect in family) for family in families]
    assert np.mean(false) <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / SWEEPS)
    uncorrected = [any((effect.p_value or 0) < 0.05 for effect in family) for family in families]
    assert np.mean(uncorrected) > 0.09  # what Holm is there to prevent


def test_at_the_margin_equivalence_is_claimed_5_times_in_100_and_within_it_often() -> None:
    edge = math.log(1.005)
    tables = list(sweeps({"above": edge, "below": -edge, "inside": 0.0}, seeds=12))
    for name, low, high in (("above", 0.035, 0.065), ("below", 0.035, 0.065), ("inside", 0.9, 1.0)):
        claimed = [table.effects[name].outcome == EQUIVALENT for table in tables]
        assert low <= np.mean(claimed) <= high


def test_a_run_that_is_missing_here_and_there_leaves_coverage_as_it_is() -> None:
    draw, covered = np.random.default_rng(5), []
    for _ in range(SWEEPS):
        common = draw.normal(3.0, SEED_EFFECT, 4)
        scores = {name: by_seed(*(common + draw.normal(0, NOISE, 4))) for name in ("base", "a", "b")}
        del scores["a"][1], scores["b"][3]
        effect = compare_all(scores, "base", draws=1).effects["a"]
        covered.append((effect.low or 0) <= 0 <= (effect.high or 0))
    assert 0.935 <= np.mean(covered) <= 0.965


def test_the_order_of_the_input_changes_no_number() -> None:
    scores = {"base": by_seed(3.30, 3.35, 3.28), "a": by_seed(3.29, 3.33), "b": by_seed(3.1, 3.2, 3.12)}
    backwards = {name: dict(reversed(scores[name].items())) for name in reversed(scores)}
    assert compare_all(scores, "base").effects == compare_all(backwards, "base").effects
    assert compare_all(scores, "base").probability_best == compare_all(backwards, "base").probability_best


def test_large_effects_are_found_and_small_ones_left_open() -> None:
    tables = list(sweeps({"good": -0.05, "bad": 0.05, "near": -0.004}))
    outcomes = {name: [table.effects[name].outcome for table in tables] for name in ("good", "bad", "near")}
    assert np.mean([outcome == BETTER for outcome in outcomes["good"]]) > 0.99
    assert np.mean([outcome == WORSE for outcome in outcomes["bad"]]) > 0.99
    assert np.mean([outcome == UNDECIDED for outcome in outcomes["near"]]) > 0.5
