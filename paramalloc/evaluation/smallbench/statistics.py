"""What a task's log-likelihoods say about a model: accuracy, and the measures that see past the label prior.

Always holds: every value is a finite number or None, so the result goes into strict JSON as it is. Small models
mostly give every question the same answer; accuracy then shows how often that answer happens to be right. AUROC does
not depend on such a prior: compare models by it and by the probability of the right answer, not by accuracy alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def task_statistics(log_likelihoods: np.ndarray, answers: Sequence[int]) -> dict[str, float | int | None]:
    """One task's scores; all but the first two are None where log-likelihoods are not finite, or there are none.

    Args:
        log_likelihoods: (N, C) nats, the total log-probability of each choice.
        answers: (N,) indexes of the right choices.

    Returns:
        `n`; `majority_baseline`: accuracy of always giving the commonest right answer; `accuracy` of the likeliest
        choice (of equals the first); `accuracy_se`: its standard error, sqrt(a (1 - a) / (n - 1));
        `auroc` of the log-odds of the second choice of two, 0.5 being chance, and `auroc_se`;
        `mean_probability_correct`: of the right one among the choices alone (softmax over them);
        `mean_margin_nats`: by how much the right one is ahead of the best wrong one.
    """
    right = np.asarray(answers)
    count, choices = log_likelihoods.shape
    known: dict[str, float | int | None] = {
        "n": count,
        "majority_baseline": float(np.bincount(right).max() / count) if count else None,
    }
    if not count or not np.isfinite(log_likelihoods).all():
        measured = ("accuracy", "accuracy_se", "auroc", "auroc_se", "mean_probability_correct", "mean_margin_nats")
        return known | dict.fromkeys(measured)
    accuracy = float((log_likelihoods.argmax(axis=1) == right).mean())
    log_odds = log_likelihoods[:, 1] - log_likelihoods[:, 0]
    area, area_se = auroc(log_odds, right == 1) if choices == 2 else (None, None)
    return known | {
        "accuracy": accuracy,
        "accuracy_se": math.sqrt(accuracy * (1 - accuracy) / (count - 1)) if count > 1 else None,
        "auroc": area,
        "auroc_se": area_se,
        "mean_probability_correct": float(_probabilities(log_likelihoods)[np.arange(count), right].mean()),
        "mean_margin_nats": float(_margins(log_likelihoods, right).mean()),
    }


def auroc(scores: np.ndarray, positive: np.ndarray) -> tuple[float | None, float | None]:
    """Area under the ROC curve and its standard error: how often a positive outscores a negative, ties as half.

    The standard error is that of DeLong, DeLong and Clarke-Pearson (1988), from the variance of each item's own share
    of won comparisons. None where a class is empty (the error: where a class has one item).
    """
    winners, losers = scores[positive], scores[~positive]
    if not len(winners) or not len(losers):
        return None, None
    won = (winners[:, None] > losers) + 0.5 * (winners[:, None] == losers)  # (P, N)
    area = float(won.mean())
    if min(won.shape) < 2:
        return area, None
    variances = [won.mean(axis=other).var(ddof=1) / items for other, items in ((1, len(winners)), (0, len(losers)))]
    return area, math.sqrt(sum(variances))


def _probabilities(log_likelihoods: np.ndarray) -> np.ndarray:
    odds = np.exp(log_likelihoods - log_likelihoods.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def _margins(log_likelihoods: np.ndarray, right: np.ndarray) -> np.ndarray:
    rows = np.arange(len(right))
    wrong = log_likelihoods.copy()
    wrong[rows, right] = -np.inf
    return log_likelihoods[rows, right] - wrong.max(axis=1)
