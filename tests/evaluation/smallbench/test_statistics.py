"""Statistics of a task against scikit-learn, SciPy and plain counting, and their corner cases."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from paramalloc.evaluation.smallbench.statistics import auroc, task_statistics


@pytest.fixture(scope="module")
def case() -> tuple[np.ndarray, np.ndarray]:
    """400 questions, three quarters of them with the answer 1; scores on a coarse grid, so that many are equal."""
    generator = np.random.default_rng(5)
    answers = (generator.random(400) < 0.75).astype(int)
    log_likelihoods = generator.normal(-5, 2, (400, 2)) + 0.8 * np.eye(2)[answers]
    return log_likelihoods.round(0), answers


def test_against_scikit_learn_and_scipy(case: tuple[np.ndarray, np.ndarray]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scipy_stats = pytest.importorskip("scipy.stats")
    special = pytest.importorskip("scipy.special")
    log_likelihoods, answers = case
    found = task_statistics(log_likelihoods, answers.tolist())
    predictions = log_likelihoods.argmax(axis=1)
    log_odds = log_likelihoods[:, 1] - log_likelihoods[:, 0]
    probabilities = special.softmax(log_likelihoods, axis=1)
    assert len(np.unique(log_odds)) < 20  # ties there are
    assert found == {
        "n": 400,
        "majority_baseline": pytest.approx(max(answers.mean(), 1 - answers.mean())),
        "accuracy": pytest.approx(metrics.accuracy_score(answers, predictions)),
        "accuracy_se": pytest.approx(scipy_stats.sem(predictions == answers)),
        "auroc": pytest.approx(metrics.roc_auc_score(answers, log_odds)),
        "auroc_se": pytest.approx(0.028, abs=0.01),  # its own test follows
        "mean_probability_correct": pytest.approx(np.take_along_axis(probabilities, answers[:, None], 1).mean()),
        "mean_margin_nats": pytest.approx(np.where(answers == 1, log_odds, -log_odds).mean()),
    }


def test_standard_error_of_the_area_is_its_spread_over_samples() -> None:
    generator = np.random.default_rng(0)
    positive = np.arange(150) < 60

    def sample() -> tuple[float | None, float | None]:
        return auroc(generator.normal(0.7 * positive, 1 + positive), positive)

    areas, errors = np.array([sample() for _ in range(2000)], dtype=float).T
    assert errors.mean() == pytest.approx(areas.std(), rel=0.05)


def test_a_prior_moves_accuracy_but_not_the_area(case: tuple[np.ndarray, np.ndarray]) -> None:
    log_likelihoods, answers = case
    plain, biased = (task_statistics(log_likelihoods + shift, answers.tolist()) for shift in (0, np.array([0, 50])))
    assert biased["accuracy"] == biased["majority_baseline"] == answers.mean()
    assert biased["auroc"] == plain["auroc"]


def test_what_cannot_be_known_is_none() -> None:
    one_class = task_statistics(np.array([[-1.0, -2.0], [-3.0, -2.5]]), [0, 0])
    assert one_class["auroc"] is one_class["auroc_se"] is None
    assert (one_class["accuracy"], one_class["majority_baseline"]) == (0.5, 1.0)
    single = task_statistics(np.array([[-1.0, -2.0]]), [0])
    assert (single["accuracy"], single["accuracy_se"]) == (1.0, None)
    assert auroc(np.array([1.0, 0.0, 3.0]), np.array([True, False, False])) == (0.5, None)


@pytest.mark.parametrize("worst", [math.nan, -math.inf])
def test_a_model_that_is_not_finite_has_no_scores(worst: float) -> None:
    found = task_statistics(np.array([[-1.0, -2.0], [worst, -2.0]]), [0, 1])
    sound = task_statistics(np.array([[-1.0, -2.0], [-1.5, -2.0]]), [0, 1])
    assert found.keys() == sound.keys()
    assert {key for key, value in found.items() if value is not None} == {"n", "majority_baseline"}
    json.dumps(found, allow_nan=False)


def test_very_unlikely_choices_do_not_overflow() -> None:
    found = task_statistics(np.array([[-5000.0, -1000.0], [-1000.0, -5000.0]]), [1, 1])
    assert found["mean_probability_correct"] == 0.5
    assert found["mean_margin_nats"] == 0


def test_more_choices_than_two_have_no_area() -> None:
    found = task_statistics(np.log([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]]), [2, 1])
    assert found["auroc"] is None
    assert found["mean_probability_correct"] == pytest.approx(0.4)
    assert found["mean_margin_nats"] == pytest.approx((math.log(5 / 3) + math.log(1 / 2)) / 2)
