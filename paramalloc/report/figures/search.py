"""The figures of a search: its front of latency and bits per byte, and bits per byte against each searched knob.

Always holds: filled marks are the front, hollow grey ones dominated, the baseline is black; every name stands beside
its point, and names that would touch are moved apart.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paramalloc.config import SearchConfig
from paramalloc.report.figures.pareto import front
from paramalloc.report.figures.style import GREY, few_round_ticks, new_figure, plain_ticks
from paramalloc.report.search import Found

_FRONT, _DOMINATED = "#0072B2", "#999999"
_PANEL_INCHES = 1.7
_MOST_NAMES = 12  # points; with more, only the front is named
_KNOBS = {
    "embedding_ratio": ("embedding_share", "embedding share of all parameters (achieved)"),
    "glu_expansion": ("glu_expansion", "SwiGLU expansion d_ff / d_model (achieved)"),
    "vocab_size": ("vocab_size", "vocabulary size (tokens)"),
}


def draw_front(found: Sequence[Found], baseline: str) -> Figure:
    """All points, the front joined by steps and shaded where it dominates."""
    figure = new_figure(3.1)
    axes = figure.subplots()
    places = {item.name: (item.latency_ms, item.bpb) for item in found}
    _draw_points(axes, found, places, baseline)
    slow, worst = (max(values) for values in zip(*places.values(), strict=True))
    edge = [places[name] for name in front(places)]
    steps = [(edge[0][0], worst), *edge, (slow, edge[-1][1])]
    xs, ys = [x for x, _ in steps], [y for _, y in steps]
    axes.plot(xs, ys, color=_FRONT, lw=1, drawstyle="steps-post", zorder=2)
    axes.fill_between(xs, ys, worst, step="post", color=_FRONT, alpha=0.08, lw=0, zorder=1)
    axes.set_xlabel("latency, p50 at batch 1 (ms)")
    _finish(axes)
    _name_points(axes, found)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


def draw_search_knobs(found: Sequence[Found], baseline: str, search: SearchConfig) -> Figure:
    """A panel for each searched knob, on one scale of bits per byte."""
    knobs = [_KNOBS[name] for name in search.ranges]
    figure = new_figure(0.4 + _PANEL_INCHES * len(knobs))
    panels = figure.subplots(len(knobs), squeeze=False, sharey=True)[:, 0]
    for axes, (field, label) in zip(panels, knobs, strict=True):
        _draw_points(axes, found, {item.name: (float(item.plan[field]), item.bpb) for item in found}, baseline)
        axes.set_xlabel(label)
        _finish(axes)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


def _draw_points(axes: Axes, found: Sequence[Found], places: dict[str, tuple[float, float]], baseline: str) -> None:
    groups = {
        "front": ([i.name for i in found if i.on_front and i.name != baseline], "o", _FRONT, _FRONT),
        "dominated": ([i.name for i in found if not i.on_front and i.name != baseline], "o", _DOMINATED, "none"),
    }
    base = next((item for item in found if item.name == baseline), None)
    if base:
        groups[f"{baseline} (baseline)"] = ([baseline], "s", "black", "black" if base.on_front else "none")
    for label, (names, marker, edge, face) in groups.items():
        if names:
            xs, ys = zip(*(places[name] for name in names), strict=True)
            above = 4 if label == "front" else 3
            axes.plot(xs, ys, marker, ms=5, mec=edge, mfc=face, mew=1.1, ls="", label=label, zorder=above)


def _finish(axes: Axes) -> None:
    axes.set_ylabel("dev bits per byte")
    axes.margins(x=0.12, y=0.12)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(few_round_ticks())
        plain_ticks(axis)


def _name_points(axes: Axes, found: Sequence[Found]) -> None:
    """The front's names to the lower left, where a front has nothing; the others', where they are few, above."""
    for item in found:
        if item.on_front or len(found) <= _MOST_NAMES:
            offset, sides = ((-4, -4), ("right", "top")) if item.on_front else ((4, 3), ("left", "bottom"))
            axes.annotate(
                item.name, (item.latency_ms, item.bpb), xytext=offset, textcoords="offset points",
                ha=sides[0], va=sides[1], fontsize="small", color=GREY if item.on_front else _DOMINATED, zorder=4,
            )  # fmt: skip
