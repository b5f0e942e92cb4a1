"""What the figures show, read back from the drawn objects, and what lies on disk."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from paramalloc.files import read_jsonl
from paramalloc.report.figures.curves import Curve, draw_curves
from paramalloc.report.figures.gallery import make_figures
from paramalloc.report.figures.style import looks, style
from paramalloc.report.load import load_results
from paramalloc.report.variants import Measure
from paramalloc.results import FINALISTS, RANKING, ResultsFolder


def drawn(sweep: Any) -> dict[str, Figure]:
    with style():
        figures = {picture.name: figure for picture, figure in make_figures(load_results(sweep.folder))}
        for figure in figures.values():
            figure.draw_without_rendering()
    return figures


@pytest.fixture(scope="module")
def embed_figures(embed_sweep: Any) -> dict[str, Figure]:
    return drawn(embed_sweep)


def crosses(axes: Axes) -> list[Line2D]:
    return [line for line in axes.lines if line.get_marker() == "x"]


def texts(axes: Axes) -> str:
    return "\n".join(text.get_text() for text in axes.texts)


def points(lines: list[Line2D]) -> dict[float, float]:
    return {float(x): float(y) for line in lines for x, y in [*np.asarray(line.get_xydata())]}


def test_png_at_300_dpi_and_half_a_page_wide_and_svg_without_a_date(embed_report: ResultsFolder) -> None:
    names = {path.name for path in embed_report.figures.iterdir()}
    stems = (
        "ppl_vs_embedding_share", "learning_curves", "learning_curves_finalists", "effects", "pareto", "kills",
        "spending", "usd_vs_bpb",
    )  # fmt: skip
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")}
    for stem in stems:
        with Image.open(embed_report.figures / f"{stem}.png") as image:
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
            assert image.width == 1050
        assert "<dc:date>" not in (embed_report.figures / f"{stem}.svg").read_text()


def test_ranking_scores_are_hollow_points_at_the_achieved_share(embed_figures: dict[str, Figure]) -> None:
    ranking = embed_figures["ppl_vs_embedding_share"].axes[0]
    hollow = [line for line in ranking.lines if line.get_markerfacecolor() == "white"]
    assert points(hollow) == {0.3516: pytest.approx(312.0), 0.2511: pytest.approx(301.5)}
    assert ranking.get_title(loc="left") == "ranking: 5.01M tokens, one seed"


def test_a_kill_far_above_stands_at_the_edge_with_tokens_and_value(
    embed_figures: dict[str, Figure], embed_sweep: Any
) -> None:
    ranking = embed_figures["ppl_vs_embedding_share"].axes[0]
    (cross,) = crosses(ranking)
    last = read_jsonl(embed_sweep.folder.trial(RANKING, "emb45").history)[-1]
    assert cross.get_xdata() == [0.4418]
    assert cross.get_transform() == ranking.get_xaxis_transform()
    assert f"killed at\n1.75M\n(↑ {last['dev_ppl']:.0f})" in texts(ranking)
    assert "diverged" in texts(ranking)


def test_a_kill_within_the_range_stands_at_its_value(
    new_sweep: Callable[..., Any], shares: list[dict[str, Any]]
) -> None:
    sweep = new_sweep(shares[:3])
    sweep.begin()
    sweep.trial(RANKING, "emb35", final_ppl=500.0)
    sweep.trial(RANKING, "emb25", final_ppl=900.0)
    sweep.trial(RANKING, "emb45", final_ppl=400.0, status="killed", until_tokens=3_000_000)
    last = read_jsonl(sweep.folder.trial(RANKING, "emb45").history)[-1]
    (cross,) = crosses(drawn(sweep)["ppl_vs_embedding_share"].axes[0])
    assert points([cross]) == {0.4418: last["dev_ppl"]}


def test_finalists_show_mean_spread_and_every_seed(embed_figures: dict[str, Figure]) -> None:
    finalists = embed_figures["ppl_vs_embedding_share"].axes[1]
    assert finalists.get_title(loc="left") == "finalists: 50.0M tokens, mean ± sd of 3 seeds"
    means = points([container.lines[0] for container in finalists.containers])
    assert means == {0.3516: pytest.approx(81.7), 0.2511: pytest.approx(77.0)}
    (bar,) = finalists.containers[0].lines[2][0].get_segments()
    sd = math.sqrt((0.5**2 + 0.4**2 + 0.1**2) / 2)
    assert bar[:, 1] == pytest.approx([81.7 - sd, 81.7 + sd])
    dots = [line for line in finalists.lines if line.get_marker() == "."]
    assert sorted(float(y) for line in dots for y in line.get_ydata()) == pytest.approx(
        [76.6, 77.1, 77.3, 81.2, 81.8, 82.1]
    )


def test_the_right_axis_reads_bits_per_byte(embed_figures: dict[str, Figure]) -> None:
    for axes in embed_figures["ppl_vs_embedding_share"].axes[:2]:
        (right,) = axes.child_axes
        expected = [math.log(ppl) / math.log(2) / 4.3 for ppl in axes.get_ylim()]
        assert right.get_ylim() == pytest.approx(expected)


def test_ticks_are_the_variants_own_values_and_name_the_baseline(embed_figures: dict[str, Figure]) -> None:
    axis = embed_figures["ppl_vs_embedding_share"].axes[1].xaxis
    assert [tick.get_text() for tick in axis.get_ticklabels()] == ["0.154", "0.251", "0.352\nbaseline", "0.442"]


def test_learning_curves_cross_out_what_ended_early_where_it_ended(
    embed_figures: dict[str, Figure], embed_sweep: Any
) -> None:
    upper = embed_figures["learning_curves"].axes[0]
    ends = {name: read_jsonl(embed_sweep.folder.trial(RANKING, name).history)[-1] for name in ("emb45", "emb15")}
    assert points(crosses(upper)) == {row["tokens"] / 1e6: row["dev_ppl"] for row in ends.values()}
    assert "emb45 killed at 1.75M" in texts(upper)
    assert "emb15 diverged after 0.50M" in texts(upper)


def test_the_baseline_is_heavier_and_every_variant_looks_different(embed_figures: dict[str, Figure]) -> None:
    lines = {line.get_label(): line for line in embed_figures["learning_curves"].axes[0].lines}
    others = [lines[name] for name in ("emb25", "emb45", "emb15")]
    assert all(lines["emb35"].get_linewidth() > other.get_linewidth() for other in others)
    names = [f"v{i}" for i in range(40)]
    seen = {(look.color, look.marker, look.line) for look in looks(names, "v0").values()}
    assert len(seen) == len(names)


def test_the_first_steep_points_do_not_set_the_scale(embed_figures: dict[str, Figure], embed_sweep: Any) -> None:
    rows = read_jsonl(embed_sweep.folder.trial(FINALISTS, "emb35-seed0").history)
    upper = embed_figures["learning_curves_finalists"].axes[0]
    low, high = upper.get_ylim()
    assert high < rows[0]["dev_ppl"] / 2
    assert low < min(row["dev_ppl"] for row in rows)
    assert upper.get_yscale() == "log"


def test_the_gap_is_paired_by_seed_and_its_band_spans_the_seeds(
    embed_figures: dict[str, Figure], embed_sweep: Any
) -> None:
    lower = embed_figures["learning_curves_finalists"].axes[1]

    def last(name: str) -> float:
        return float(read_jsonl(embed_sweep.folder.trial(FINALISTS, name).history)[-1]["dev_ppl"])

    gaps = [100 * (last(f"emb25-seed{seed}") / last(f"emb35-seed{seed}") - 1) for seed in range(3)]
    (line,) = [line for line in lower.lines if line.get_color() != "black"]
    assert line.get_ydata()[-1] == pytest.approx(sum(gaps) / 3)
    band = lower.collections[0].get_paths()[0].vertices
    at_end = band[band[:, 0] == line.get_xdata()[-1], 1]
    assert (at_end.min(), at_end.max()) == pytest.approx((min(gaps), max(gaps)))


def test_legends_and_words_cover_neither_data_nor_each_other(
    new_sweep: Callable[..., Any], shares: list[dict[str, Any]]
) -> None:
    names = ["base", *(f"a-long-name-number-{i}" for i in range(6))]
    sweep = new_sweep([{"name": name, "glu_expansion": 2.66 + i} for i, name in enumerate(names)])
    sweep.begin(shapes={name: (220, 11, 11, 584, 0.35, 2.66 + i) for i, name in enumerate(names)})
    sweep.trial(RANKING, names[0], final_ppl=300.0)
    for name in names[1:4]:
        sweep.trial(RANKING, name, final_ppl=305.0, status="killed", until_tokens=2_000_000)
    figure = drawn(sweep)["learning_curves"]
    (legend,) = figure.legends
    assert not any(legend.get_window_extent().overlaps(axes.get_window_extent()) for axes in figure.axes)
    assert figure.bbox.contains(*legend.get_window_extent().p1)
    words = sorted((text.get_window_extent() for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert len(words) == 3
    assert all(below.y1 <= above.y0 for below, above in pairwise(words))


def test_several_tokenizers_are_drawn_by_name_per_baseline_token(new_sweep: Callable[..., Any]) -> None:
    sweep = new_sweep([{"name": "big"}, {"name": "small", "vocab_size": 8_000, "tied": False}])
    shape = (220, 11, 11, 584, 0.35, 2.65)
    sweep.begin(shapes={"big": shape, "small": shape})
    for name, ppl in (("big", 300.0), ("small", 320.0)):
        sweep.trial(RANKING, name, final_ppl=ppl)
    axes = drawn(sweep)["ppl_vs_variant"].axes[0]
    assert axes.get_ylabel() == "dev PPL per baseline token"
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert points(hollow) == {0.0: 300.0, 1.0: 320.0}
    assert [tick.get_text() for tick in axes.xaxis.get_ticklabels()] == ["big\nbaseline", "small"]


def test_a_grid_whose_largest_group_lacks_the_baseline_has_its_figures(new_sweep: Callable[..., Any]) -> None:
    shares = {"base": (0.35, 2.66), "a": (0.25, 2.0), "b": (0.25, 4.0)}
    sweep = new_sweep([{"name": n, "embedding_ratio": s, "glu_expansion": x} for n, (s, x) in shares.items()])
    sweep.begin(shapes={name: (220, 11, 11, 584, share, glu) for name, (share, glu) in shares.items()})
    for number, name in enumerate(shares):
        sweep.trial(RANKING, name, final_ppl=300.0 + number)
    figure = drawn(sweep)["ppl_vs_glu_expansion"]
    assert [tick.get_text() for tick in figure.axes[0].xaxis.get_ticklabels()] == ["2", "4"]


def test_of_many_variants_side_by_side_the_baseline_and_the_best_have_room(new_sweep: Callable[..., Any]) -> None:
    names = ["base", *(f"v{n:02}" for n in range(15))]
    sweep = new_sweep([{"name": name, "tied": bool(n % 2), "batch_size": 8 + n} for n, name in enumerate(names)])
    sweep.begin(shapes=dict.fromkeys(names, (220, 11, 11, 584, 0.35, 2.65)))
    for n, name in enumerate(names):
        sweep.trial(RANKING, name, final_ppl=400.0 - n)
    figures = drawn(sweep)
    shown = [tick.get_text() for tick in figures["ppl_vs_variant"].axes[0].xaxis.get_ticklabels()]
    assert shown == ["base (baseline)", *names[5:]]
    pictures = {picture.name: picture.caption for picture, _ in make_figures(load_results(sweep.folder))}
    assert "the baseline and the best of 16" in pictures["ppl_vs_variant"]


def test_figures_without_data_are_left_out(new_sweep: Callable[..., Any], shares: list[dict[str, Any]]) -> None:
    sweep = new_sweep(shares)
    sweep.begin()
    assert drawn(sweep) == {}
    sweep.trial(RANKING, "emb45", final_ppl=300.0, status="failed", until_tokens=0)
    assert drawn(sweep) == {}
    sweep.trial(RANKING, "emb25", final_ppl=300.0, status="unfinished", until_tokens=1_000_000)
    figures = drawn(sweep)
    assert list(figures) == ["learning_curves"]
    assert len(figures["learning_curves"].axes) == 1  # no gap without the baseline


def test_scores_that_lie_far_apart_can_still_be_drawn(
    new_sweep: Callable[..., Any], shares: list[dict[str, Any]]
) -> None:
    """The right axis, bits per byte, is a logarithm: the left one must not reach below zero."""
    sweep = new_sweep(shares[:2])
    sweep.begin()
    sweep.trial(RANKING, "emb35", final_ppl=50.0)
    sweep.trial(RANKING, "emb25", final_ppl=5000.0)
    (axes, *_) = drawn(sweep)["ppl_vs_embedding_share"].axes
    assert 0 < axes.get_ylim()[0] < 50


def test_of_many_curves_the_baseline_and_the_best_have_names() -> None:
    """Forty, every other one killed: a dozen are named, and what ended among the others is a cross without a word."""
    measure = Measure("dev_ppl", "test_ppl", "dev perplexity")
    curves = [
        Curve(f"v{n:02}", {0: {1000: 60.0, 2000: 50.0 + n}}, "killed at" if n % 2 else None) for n in range(39)
    ] + [Curve("base", {0: {1000: 60.0, 2000: 80.0}})]
    names = [curve.name for curve in curves]
    with style(), warnings.catch_warnings():
        warnings.simplefilter("error")  # as of axes for which no room is left
        figure = draw_curves(curves, "base", measure, looks(names, "base"))
        figure.draw_without_rendering()
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == [*(f"v{n:02}" for n in range(0, 22, 2)), "base", "28 more"]
    upper, lower = figure.axes
    assert not texts(upper)
    for axes, of in ((upper, 1.0), (lower, 100 / 80)):
        (crowd,) = [line for line in axes.lines if line.get_color() == "#bbbbbb" and line.get_linestyle() == "-"]
        drawn = crowd.get_xydata()[~np.isnan(crowd.get_ydata())].tolist()
        assert len(drawn) == 2 * 28
        assert [0.002, pytest.approx(of * 88 - (of > 1) * 100)] in drawn  # v38
        (ends,) = crosses(axes)
        assert len(ends.get_xydata()) == 19
