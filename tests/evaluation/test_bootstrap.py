"""Confidence intervals over documents: they cover the truth as often as they say, and agree with another method."""

from __future__ import annotations

import json
import math
import tracemalloc

import numpy as np
import pytest

from paramalloc.data.token_set import HeldOut
from paramalloc.evaluation.bootstrap import confidence_intervals, ratio_intervals
from paramalloc.evaluation.units import MAX_PERPLEXITY, MIN_DOCUMENTS, Score, is_capped


def documents(count: int, random: np.random.Generator, sigma: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Nats and tokens of texts of log-normal length, longer ones a little easier, (D,) each."""
    tokens = np.ceil(random.lognormal(6, sigma, count))
    loss = 3.5 - 0.1 * (np.log(tokens) - 6) + 0.2 * random.gamma(2, 1, count)
    return loss * tokens, tokens


def held_out(tokens: np.ndarray) -> HeldOut:
    """Texts of so many tokens, of 4 bytes each, and one word for two tokens."""
    sizes = tokens.astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return HeldOut(np.zeros(starts[-1], np.uint16), starts, 4 * sizes, (sizes + 1) // 2)


@pytest.mark.parametrize(("count", "at_least"), [(200, 0.91), (60, 0.90), (MIN_DOCUMENTS, 0.85)])
def test_an_interval_covers_the_truth_as_often_as_it_says(count: int, at_least: float) -> None:
    random = np.random.default_rng(5)
    nats, tokens = documents(1_000_000, random)
    truth = nats.sum() / tokens.sum()
    covered = 0
    for seed in range(300):
        nats, tokens = documents(count, random)
        low, high = ratio_intervals(nats, tokens[:, None], seed, resamples=500)[0]
        covered += low <= truth <= high
    assert at_least <= covered / 300 <= 0.97


def test_it_reaches_further_to_the_side_on_which_a_sample_misses_more() -> None:
    nats, tokens = documents(40, np.random.default_rng(12))
    nats[0] *= 3  # rare hard documents: a sample that lacks them is far too low, and looks sure of itself
    ratio = nats.sum() / tokens.sum()
    low, high = ratio_intervals(nats, tokens[:, None])[0]
    assert high - ratio > 1.2 * (ratio - low)


def test_with_many_documents_it_is_what_scipy_finds() -> None:
    scipy_stats = pytest.importorskip("scipy.stats")
    nats, tokens = documents(2_000, np.random.default_rng(1))
    low, high = ratio_intervals(nats, tokens[:, None])[0]
    theirs = scipy_stats.bootstrap(
        (nats, tokens),
        lambda n, t, axis: n.sum(axis=axis) / t.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=2_000,
        batch=200,
        method="BCa",
        random_state=np.random.default_rng(2),
    ).confidence_interval
    assert [low, high] == pytest.approx([theirs.low, theirs.high], abs=0.05 * (theirs.high - theirs.low))


def test_every_score_of_a_split_has_its_own() -> None:
    nats, tokens = documents(100, np.random.default_rng(3))
    text = held_out(tokens)
    intervals = confidence_intervals("dev", nats, text)
    score = Score.of(nats, text)
    assert list(intervals) == ["dev_ppl_ci95", "dev_bpb_ci95", "dev_word_ppl_ci95"]
    for value, (low, high) in zip((score.ppl, score.bpb, score.word_ppl), intervals.values(), strict=True):
        assert low < value < high
    low, high = intervals["dev_ppl_ci95"]
    assert intervals["dev_bpb_ci95"] == pytest.approx([math.log2(low) / 4, math.log2(high) / 4])
    assert json.loads(json.dumps(intervals, allow_nan=False)) == intervals


def test_the_seed_decides_and_more_text_narrows() -> None:
    nats, tokens = documents(400, np.random.default_rng(4))

    def interval(count: int, seed: int) -> list[float]:
        return ratio_intervals(nats[:count], tokens[:count, None], seed)[0].tolist()

    assert interval(100, 0) == interval(100, 0) != interval(100, 1)
    assert np.diff(interval(400, 0)) < 0.7 * np.diff(interval(100, 0))


def test_the_unit_of_length_and_of_surprise_scale_the_interval() -> None:
    nats, tokens = documents(50, np.random.default_rng(6))
    interval = ratio_intervals(nats, tokens[:, None])[0]
    assert ratio_intervals(3 * nats, 2 * tokens[:, None])[0] == pytest.approx(1.5 * interval)
    assert ratio_intervals(nats, np.stack([tokens, 4 * tokens], axis=1))[1] == pytest.approx(interval / 4)


def test_documents_that_all_agree_leave_no_doubt() -> None:
    _, tokens = documents(40, np.random.default_rng(7))
    assert ratio_intervals(2.5 * tokens, tokens[:, None])[0] == pytest.approx([2.5, 2.5])


@pytest.mark.parametrize("count", [1, 2, MIN_DOCUMENTS - 1])
def test_too_few_documents_have_none(count: int) -> None:
    nats, tokens = documents(count, np.random.default_rng(8))
    assert set(confidence_intervals("test", nats, held_out(tokens)).values()) == {None}


def test_what_cannot_be_told_is_none_and_the_rest_is_told() -> None:
    nats, tokens = documents(MIN_DOCUMENTS, np.random.default_rng(9))
    text = held_out(tokens)
    one_has_words = np.where(np.arange(MIN_DOCUMENTS) == 0, 7, 0)
    intervals = confidence_intervals(
        "dev", nats, HeldOut(text.tokens, text.starts, text.bytes_per_document, one_has_words)
    )
    assert intervals["dev_word_ppl_ci95"] is None
    assert intervals["dev_ppl_ci95"] is not None


def test_a_hopeless_perplexity_is_capped_in_its_interval_too() -> None:
    nats, tokens = documents(50, np.random.default_rng(10))
    intervals = confidence_intervals("dev", 10 * nats, held_out(tokens))
    assert intervals["dev_ppl_ci95"] == [MAX_PERPLEXITY, MAX_PERPLEXITY]
    assert all(is_capped(json.loads(json.dumps(bound))) for bound in intervals["dev_ppl_ci95"])


def test_memory_does_not_grow_with_the_draws() -> None:
    nats, tokens = documents(50_000, np.random.default_rng(11))
    tracemalloc.start()
    ratio_intervals(nats, tokens[:, None], resamples=200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # all draws at once take twice that
