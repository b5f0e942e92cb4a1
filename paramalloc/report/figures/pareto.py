"""What a better score costs: bits per byte against latency and against training FLOPs, with the variants none beats.

Always holds: one figure compares runs of one stage, hence of one budget; a line joins the variants for which no other
is at least as good in both and better in one; scores are means over seeds, with their standard deviation. Of many
variants the baseline, those that none beats, and the best have names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paramalloc.report.figures.style import (
    BASELINE_COLOUR,
    CROWD,
    GREY,
    Look,
    few_round_ticks,
    named_few,
    new_figure,
    plain_ticks,
    short_name,
)
from paramalloc.report.variants import Spread, VariantResult, spread

_HEIGHT_INCHES = 3.9


@dataclass(frozen=True)
class Candidate:
    """One variant: what it costs, and what it scores. None is a cost that was not measured."""

    name: str
    bpb: Spread
    latency_ms: float | None
    train_flops: float


def candidates(variants: Sequence[VariantResult]) -> list[Candidate]:
    """The finalists where there are two or more, else all that finished the ranking."""
    finals = [(v, [run.metrics for run in v.finished_finals]) for v in variants if v.finished_finals]
    ranked = [(v, [v.ranking_score]) for v in variants if v.ranking_score and not _is_anothers(v, variants)]
    found = []
    for variant, metrics in finals if len(finals) > 1 else ranked:
        latency = variant.latency_ms
        found.append(
            Candidate(
                variant.name,
                spread([one["dev_bpb"] for one in metrics]),
                latency[1] if latency else None,
                mean(one["train_flops"] for one in metrics),
            )
        )
    return found


def _is_anothers(variant: VariantResult, variants: Sequence[VariantResult]) -> bool:
    """Whether its ranking run is one that another variant of an earlier stage has made."""
    origin = variant.ranking_score["same_run_as"]
    runs = (run for other in variants for run in other.ranking_runs) if origin else ()
    return any(origin == f"{run.stage}/{run.name}" for run in runs)


def front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names of the points that no other beats, by rising cost. A point is (cost, score); less is better in both."""
    best, kept = float("inf"), []
    for name, (_, score) in sorted(points.items(), key=lambda item: (item[1], item[0])):
        if score < best:
            kept.append(name)
            best = score
    return kept


def draw_pareto(found: Sequence[Candidate], latency_length: str | None, looks: Mapping[str, Look]) -> Figure | None:
    """A panel for latency, where two variants have one, and a panel for training FLOPs; None for fewer than two."""
    if len(found) < 2:
        return None
    timed = {one.name: one.latency_ms for one in found if one.latency_ms is not None}
    panels = [({one.name: one.train_flops / 1e12 for one in found}, "training FLOPs (10¹²)")]
    if len(timed) > 1:
        panels.insert(0, (timed, f"latency of {latency_length} tokens, p50 at batch 1 (ms)"))
    figure = new_figure(_HEIGHT_INCHES * (0.55 if len(panels) == 1 else 1))
    grid = figure.subplots(len(panels), squeeze=False)[:, 0]
    for axes, (costs, label) in zip(grid, panels, strict=True):
        _draw(axes, {one.name: one.bpb for one in found if one.name in costs}, costs, looks)
        axes.set_xlabel(label)
        axes.set_ylabel("dev bits per byte")
    figure.align_ylabels()
    return figure


def _draw(axes: Axes, scores: Mapping[str, Spread], costs: Mapping[str, float], looks: Mapping[str, Look]) -> None:
    points = {name: (costs[name], score.mean) for name, score in scores.items() if score.mean is not None}
    unbeaten = front(points)
    if len(unbeaten) > 1:
        kept = [points[name] for name in unbeaten]
        axes.plot(*zip(*kept, strict=True), color=CROWD.color, lw=1, drawstyle="steps-post", zorder=1)
    on_front = set(unbeaten)
    named = named_few(
        points, lambda name: (looks[name].color != BASELINE_COLOUR, name not in on_front, points[name][1])
    )
    others = [place for name, place in points.items() if name not in named]
    if others:
        axes.plot(*zip(*others, strict=True), CROWD.marker, color=CROWD.color, ms=3, zorder=CROWD.order)
    for name, (cost, bpb) in ((name, place) for name, place in points.items() if name in named):
        look, sd = looks[name], scores[name].sd
        axes.errorbar(
            cost,
            bpb,
            yerr=sd or None,
            fmt=look.marker,
            color=look.color,
            ms=5,
            mew=0,
            capsize=3,
            elinewidth=1,
            zorder=3,
        )
        axes.annotate(
            short_name(name), (cost, bpb), xytext=(6, 4), textcoords="offset points", fontsize="small", color=GREY
        )
    low, high = (pick(cost for cost, _ in points.values()) for pick in (min, max))
    pad = 0.15 * (high - low) or 0.1 * high
    axes.set_xlim(low - pad, high + 2.2 * pad)  # names stand to the right of their points
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(few_round_ticks(4))
        plain_ticks(axis)
    axes.margins(y=0.2)
