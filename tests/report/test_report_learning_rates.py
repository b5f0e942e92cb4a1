"""Variants ranked at several learning rates: which run stands for one, edges, the figure and the sentences."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from paramalloc.report.figures.style import looks, style
from paramalloc.report.learning_rates import RateSearch, draw_rates, edge_warnings, rate_searches
from paramalloc.report.load import load_results
from paramalloc.report.markdown import render_report
from paramalloc.report.sections import findings
from paramalloc.report.variants import variant_results
from paramalloc.results import RANKING

RATES = [1e-3, 2e-3, 4e-3]


@pytest.fixture
def sweep(new_sweep: Callable[..., Any], shares: list[dict[str, Any]]) -> Any:
    """emb35 does best in the middle, emb25 at the highest rate; emb25's lowest was killed."""
    sweep = new_sweep(shares[:2], training={"learning_rate": RATES})
    sweep.begin()
    for rate, ppl in zip(RATES, (320.0, 300.0, 310.0), strict=True):
        sweep.trial(RANKING, "emb35", final_ppl=ppl, learning_rate=rate)
    sweep.trial(RANKING, "emb25", final_ppl=380.0, status="killed", until_tokens=1_750_000, learning_rate=1e-3)
    sweep.trial(RANKING, "emb25", final_ppl=305.0, learning_rate=2e-3)
    sweep.trial(RANKING, "emb25", final_ppl=290.0, learning_rate=4e-3)
    return sweep


def test_the_best_finished_run_stands_for_its_variant(sweep: Any) -> None:
    variants = variant_results(load_results(sweep.folder))
    assert [variant.ranking.metrics["learning_rate"] for variant in variants] == [2e-3, 4e-3]
    assert [len(variant.ranking_runs) for variant in variants] == [3, 3]


def test_a_search_knows_its_losses_endings_best_and_edge(sweep: Any) -> None:
    results = load_results(sweep.folder)
    inside, edge = rate_searches(results, variant_results(results))
    assert (inside.best, inside.edge) == (2e-3, None)
    assert inside.losses[4e-3] == pytest.approx(math.log(310.0))
    assert (edge.best, edge.edge, edge.endings) == (4e-3, "highest", {1e-3: "killed"})
    (warning,) = edge_warnings([inside, edge])
    assert warning.startswith("emb25 did best at the highest learning rate tried, 0.004")


def test_the_figure_has_a_panel_for_each_variant_with_a_ring_for_its_best_and_a_cross_for_the_killed(
    sweep: Any,
) -> None:
    results = load_results(sweep.folder)
    searches = rate_searches(results, variant_results(results))
    with style():
        figure = draw_rates(searches, looks(["emb35", "emb25"], "emb35"))
    assert figure is not None
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == ["emb35", "emb25"]
    own = {name: [line for line in axes.lines if line.get_label() == name] for name, axes in panels.items()}
    assert [list(line.get_xdata()) for line in own["emb25"]] == [[2e-3, 4e-3]]
    rings = {
        name: [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == "o"][-1]
        for name, axes in panels.items()
    }
    assert rings == {"emb35": (2e-3, pytest.approx(math.log(300.0))), "emb25": (4e-3, pytest.approx(math.log(290.0)))}
    crosses = {name: [x.get_xdata()[0] for x in axes.lines if x.get_marker() == "x"] for name, axes in panels.items()}
    assert crosses == {"emb35": [], "emb25": [1e-3]}
    assert draw_rates([], {}) is None


def test_of_many_variants_the_baseline_and_the_best_have_panels_before_all_others() -> None:
    losses = {"base": 9.0} | {f"v{n:02}": float(40 - n) / 10 for n in range(20)}
    searches = [RateSearch(name, (1e-3, 2e-3), {1e-3: loss, 2e-3: loss}, {}) for name, loss in losses.items()]
    with style():
        figure = draw_rates(searches, looks(list(losses), "base"))
    assert figure is not None
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == ["base", *(f"v{n:02}" for n in range(9, 20))]
    for axes in panels.values():
        (faint,) = [line for line in axes.lines if line.get_color() == "#bbbbbb"]
        drawn = [tuple(point) for point in faint.get_xydata() if not math.isnan(point[1])]
        assert drawn == [(rate, loss) for loss in losses.values() for rate in (1e-3, 2e-3)]
    warnings = edge_warnings(searches)
    assert [warning.split()[0] for warning in warnings[:2]] == ["v19", "v18"]


def test_the_report_says_edges_and_the_rates_that_were_used(sweep: Any) -> None:
    results = load_results(sweep.folder)
    variants = variant_results(results)
    said = "\n".join(findings.limits(results, variants))
    assert "emb25 did best at the highest learning rate" in said
    assert "tuned for none" not in said
    assert "Peak learning rates tried: 0.001, 0.002 and 0.004; a variant stands for its best." in render_report(
        results, []
    )


def test_a_single_rate_is_no_search(embed_sweep: Any) -> None:
    results = load_results(embed_sweep.folder)
    assert rate_searches(results, variant_results(results)) == []


def test_of_many_edges_a_few_are_told_and_the_others_counted(new_sweep: Callable[..., Any]) -> None:
    names = [f"v{n}" for n in range(9)]
    sweep = new_sweep([{"name": name} for name in names], training={"learning_rate": RATES})
    sweep.begin(shapes=dict.fromkeys(names, (220, 11, 11, 584, 0.35, 2.65)))
    for name in names:
        for rate, ppl in zip(RATES, (320.0, 310.0, 300.0), strict=True):
            sweep.trial(RANKING, name, final_ppl=ppl, learning_rate=rate)
    results = load_results(sweep.folder)
    said = findings.limits(results, variant_results(results))
    assert sum("did best at the highest learning rate" in sentence for sentence in said) == 6
    assert "So did 3 more variants at an edge of theirs." in said
