"""The printed verdict against the same statistics worked out anew, by scipy from results_summary.csv alone.

The two computations share no code: here are the textbook formulas for a complete table of variants by seeds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from paramalloc.report import build_report
from paramalloc.results import FINALISTS, FINISHED, RANKING, ResultsFolder

BASELINE, CHALLENGERS = "emb35", ("emb25", "emb45")


@pytest.fixture(scope="module")
def report(make: Callable[..., ResultsFolder]) -> ResultsFolder:
    return make(np.random.default_rng(7), {BASELINE: 0.0, "emb25": -0.07, "emb45": 0.004})


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ResultsFolder]:
    """Makes a finished sweep of three finalists and four seeds whose scores are drawn at random."""
    from .conftest import make_sweep

    def made(generator: np.random.Generator, shifts: dict[str, float]) -> ResultsFolder:
        experiments = [{"name": name, "embedding_ratio": float(name[3:]) / 100} for name in (BASELINE, *CHALLENGERS)]
        sweep: Any = make_sweep(
            tmp_path_factory.mktemp("random"), experiments, finalists={"seeds": [0, 1, 2, 3], "count": 2}
        )
        sweep.begin()
        for name in (BASELINE, *CHALLENGERS):
            sweep.trial(RANKING, name, final_ppl=300.0)
        sweep.promote(dict.fromkeys((BASELINE, *CHALLENGERS), 300.0))
        of_seed = generator.normal(0, 0.01, 4)
        for name, shift in shifts.items():
            for seed in range(4):
                ppl = 80 * float(np.exp(shift + of_seed[seed] + generator.normal(0, 0.01)))
                sweep.trial(FINALISTS, name, final_ppl=ppl, seed=seed)
        sweep.decide()
        sweep.close()
        build_report(sweep.folder)
        return sweep.folder

    return made


@pytest.fixture(scope="module")
def scores(report: ResultsFolder) -> pd.DataFrame:
    return scores_of(report)


def scores_of(report: ResultsFolder) -> pd.DataFrame:
    """Log-perplexity: a row for each seed, a column for each variant."""
    table = pd.read_csv(report.summary_csv)
    finals = table[(table["stage"] == FINALISTS) & (table["status"] == FINISHED)]
    return np.log(finals.pivot(index="seed", columns="variant", values="dev_ppl"))


def recomputed(scores: pd.DataFrame, challenger: str) -> tuple[float, float, float, float]:
    """Improvement, its 95 % interval and the p-value, by the analysis of variance of a complete two-way table."""
    seeds, variants = scores.shape
    residuals = scores.sub(scores.mean(axis=1), axis=0).sub(scores.mean(axis=0), axis=1) + scores.to_numpy().mean()
    df = (seeds - 1) * (variants - 1)
    error = np.sqrt((residuals.to_numpy() ** 2).sum() / df * 2 / seeds)
    estimate = float(scores[challenger].mean() - scores[BASELINE].mean())
    low, high = stats.t.interval(0.95, df, loc=estimate, scale=error)
    p = 2 * stats.t.sf(abs(estimate) / error, df)
    return 1 - np.exp(estimate), 1 - np.exp(high), 1 - np.exp(low), float(p)


def printed(report: ResultsFolder) -> dict[str, list[str]]:
    """The cells of the table of challengers, by variant."""
    lines = report.results_page.read_text().split("### Each challenger")[1].split("\n#")[0].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| emb")]
    return {row[0]: row[1:] for row in rows}


def test_effects_intervals_and_p_values_are_those_of_the_csv(report: ResultsFolder, scores: pd.DataFrame) -> None:
    effects = {name: recomputed(scores, name) for name in CHALLENGERS}
    ordered = sorted(CHALLENGERS, key=lambda name: effects[name][3])
    first = min(1.0, 2 * effects[ordered[0]][3])
    holm = {ordered[0]: first, ordered[1]: max(first, effects[ordered[1]][3])}
    for name, (improvement, low, high, _) in effects.items():
        cells = printed(report)[name]
        assert cells[0] == f"{improvement:+.1%}"
        assert cells[1] == f"{low:+.1%} to {high:+.1%}"
        assert cells[2] == f"{holm[name]:.2g}"
        assert cells[3] == ("better" if holm[name] < 0.05 and improvement > 0 else "undecided")
    assert {printed(report)[name][3] for name in CHALLENGERS} == {"better", "undecided"}


def test_the_chance_of_being_best_is_that_of_draws_from_the_posterior(make: Callable[..., ResultsFolder]) -> None:
    report = make(np.random.default_rng(3), {BASELINE: 0.0, "emb25": -0.004, "emb45": 0.002})
    scores = scores_of(report)
    seeds, variants = scores.shape
    df = (seeds - 1) * (variants - 1)
    residuals = scores.sub(scores.mean(axis=1), axis=0).sub(scores.mean(axis=0), axis=1) + scores.to_numpy().mean()
    # What a seed does to all variants alike cancels in every comparison; what is left is noise / sqrt(seeds).
    shape = np.eye(variants) * (residuals.to_numpy() ** 2).sum() / df / seeds
    draws = stats.multivariate_t(scores.mean(), shape, df=df, seed=1).rvs(200_000)
    for name in CHALLENGERS:
        share = (draws.argmin(axis=1) == list(scores.columns).index(name)).mean()
        assert 0.01 < share < 0.99
        assert float(printed(report)[name][4].rstrip("%")) / 100 == pytest.approx(share, abs=0.015)


def test_the_verdict_and_the_best_setting_follow_from_the_csv(report: ResultsFolder, scores: pd.DataFrame) -> None:
    improvement, low, high, _ = recomputed(scores, "emb25")
    assert improvement >= 0.05  # the rule's margin
    text = report.report.read_text()
    sentence = text.splitlines()[2]
    assert sentence.startswith(f"**emb25 wins: {improvement:.1%} lower dev perplexity")
    assert f"(95% interval over seeds: {low:.1%} to {high:.1%} lower)" in sentence
    ppl = np.exp(scores["emb25"])
    shown = re.search(r"perplexity ([\d.]+) ± ([\d.]+) on dev", text)
    assert shown is not None
    assert float(shown[1]) == pytest.approx(ppl.mean(), abs=0.5 * 10 ** -len(shown[1].partition(".")[2]))
    assert float(shown[2]) == pytest.approx(ppl.std(ddof=1), rel=0.05)
    assert ppl.mean() == np.exp(scores).mean().min()
    assert "has a lower mean" not in text
