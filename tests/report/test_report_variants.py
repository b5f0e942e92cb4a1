"""Means, spreads and units of each variant, against numbers worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from paramalloc.report.load import load_results
from paramalloc.report.variants import bits_per_byte_factor, measure, variant_results
from paramalloc.results import FINALISTS, RANKING


def test_mean_and_spread_are_over_finished_seeds_only(
    new_sweep: Callable[..., Any], shares: list[dict[str, Any]]
) -> None:
    sweep = new_sweep(shares[:2])
    sweep.begin()
    sweep.trial(FINALISTS, "emb35", final_ppl=80.0, seed=0)
    sweep.trial(FINALISTS, "emb35", final_ppl=82.0, seed=1)
    sweep.trial(FINALISTS, "emb35", final_ppl=500.0, seed=2, status="diverged")
    sweep.trial(FINALISTS, "emb25", final_ppl=500.0, seed=0, status="unfinished")
    baseline, other = variant_results(load_results(sweep.folder))
    over = baseline.over_seeds("dev_ppl")
    assert (over.mean, over.sd, over.n) == (pytest.approx(81.0), pytest.approx(math.sqrt(2)), 2)
    assert len(baseline.finished_finals) == 2
    none = other.over_seeds("dev_ppl")
    assert (none.mean, none.sd, none.n) == (None, None, 0)


def test_a_killed_run_has_no_score_but_keeps_its_last_evaluation(embed_sweep: Any) -> None:
    by_name = {variant.name: variant for variant in variant_results(load_results(embed_sweep.folder))}
    killed = by_name["emb45"]
    assert killed.ranking_score == {}
    assert killed.latency_ms is None
    assert killed.ranking.last_evaluation["tokens"] == 1_750_000
    assert by_name["emb35"].ranking_score["dev_ppl"] == pytest.approx(312.0)


def test_latency_is_the_finalists_median_where_there_are_finalists(
    new_sweep: Callable[..., Any], shares: list[dict[str, Any]]
) -> None:
    sweep = new_sweep(shares[:2])
    sweep.begin()
    sweep.trial(RANKING, "emb35", final_ppl=300.0, latency_ms=99.0)
    sweep.trial(RANKING, "emb25", final_ppl=300.0, latency_ms=7.0)
    for seed, milliseconds in enumerate((10.0, 30.0, 11.0)):
        sweep.trial(FINALISTS, "emb35", final_ppl=80.0, seed=seed, latency_ms=milliseconds)
    baseline, other = variant_results(load_results(sweep.folder))
    assert baseline.latency_ms == ("128", 11.0)
    assert other.latency_ms == ("128", 7.0)


def test_several_tokenizers_are_compared_per_token_of_the_baselines(new_sweep: Callable[..., Any]) -> None:
    sweep = new_sweep([{"name": "big"}, {"name": "small", "vocab_size": 8_000}])
    shape = (220, 11, 11, 584, 0.35, 2.65)
    sweep.begin(shapes={"big": shape, "small": shape})
    sweep.trial(RANKING, "small", final_ppl=320.0)
    results = load_results(sweep.folder)
    assert measure(results.config).dev == "dev_ppl_per_baseline_token"
    scores = results.trials[0].metrics
    assert scores["dev_ppl"] < 200  # its own tokens are shorter, so each is easier
    factor = bits_per_byte_factor(results, "dev_ppl_per_baseline_token")
    assert factor == pytest.approx(1 / (math.log(2) * 4.3))  # 4.3 bytes in a token of the baseline's
    assert factor * math.log(320.0) == pytest.approx(scores["dev_bpb"])


def test_one_tokenizer_keeps_plain_perplexity(embed_sweep: Any) -> None:
    assert measure(load_results(embed_sweep.folder).config).dev == "dev_ppl"
