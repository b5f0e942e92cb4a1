"""Learning curves: dev perplexity against training tokens above, the relative gap to the baseline below.

Always holds: every point is a score on the same fixed slice of dev; a gap is taken at equal token counts only, and
seed by seed; the first tenth of training, where curves fall steeply, does not set the scale. Of many curves the
best have looks and names, the others are one thin grey line with breaks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paramalloc.formats import millions
from paramalloc.report.figures.style import (
    BASELINE_COLOUR,
    CROWD,
    GREY,
    WIDTH_INCHES,
    Look,
    few_round_ticks,
    named_few,
    new_figure,
    plain_ticks,
    scale_perplexity,
    short_name,
)
from paramalloc.report.load import Trial
from paramalloc.report.variants import Measure, VariantResult
from paramalloc.results import DIVERGED, FAILED, KILLED

_SCALED_FROM = 0.1  # of the longest run
_MARKS_PER_CURVE = 6
_LEGEND_ROW_INCHES = 0.14
Points = dict[int, float]  # perplexity by training tokens


@dataclass(frozen=True)
class Curve:
    """One variant: a run for each seed, and how it ended where that was early."""

    name: str
    runs: Mapping[int, Points]
    ended: str | None = None


@dataclass(frozen=True)
class _Band:
    """Mean, lowest and highest over the runs, at the token counts that all of them have."""

    tokens: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]


def ranking_curves(variants: Sequence[VariantResult], measure: Measure) -> list[Curve]:
    """The ranking runs that have been evaluated at least once."""
    return [
        Curve(variant.name, {0: _points(variant.ranking, measure)}, _ending(variant.ranking))
        for variant in variants
        if variant.ranking and variant.ranking.history
    ]


def finalist_curves(variants: Sequence[VariantResult], measure: Measure) -> list[Curve]:
    """The finalists with their finished runs."""
    return [
        Curve(v.name, {trial.metrics["seed"]: _points(trial, measure) for trial in v.finished_finals})
        for v in variants
        if v.finished_finals
    ]


def draw_curves(curves: Sequence[Curve], baseline: str, measure: Measure, looks: Mapping[str, Look]) -> Figure:
    """The figure of at least one curve; without one of the baseline, or any other, there is no gap to show."""
    reference = next((curve for curve in curves if curve.name == baseline), None)
    gaps = [gap for curve in curves if reference and curve is not reference for gap in [_gap(curve, reference)]]
    gaps = [gap for gap in gaps if _band(gap).tokens]
    several_seeds = any(len(curve.runs) > 1 for curve in curves)
    named, others = _apart_from_the_crowd(curves, baseline)
    labels = {curve.name: _label(curve, curve is reference, looks[curve.name], several_seeds) for curve in named}
    entries = [*labels.values(), *([f"{len(others)} more"] if others else [])]
    columns = _legend_columns(entries)
    legend_rows = math.ceil(len(entries) / columns)
    figure = new_figure((4.0 if gaps else 2.7) + _LEGEND_ROW_INCHES * legend_rows)
    rows = figure.subplots(2 if gaps else 1, sharex=True, squeeze=False, height_ratios=[3, 2] if gaps else None)
    upper, lowest = rows[0, 0], rows[-1, 0]
    for curve in named:
        _draw(upper, curve, looks[curve.name], labels[curve.name])
    _draw_crowd(upper, others, entries[-1])
    _scale_upper(upper, curves)
    _name_ends(upper, named)
    upper.set_ylabel(f"{measure.label} (slice)")
    if gaps:
        _draw_gaps(lowest, gaps, {curve.name: looks[curve.name] for curve in named})
        lowest.set_ylabel("gap to baseline (%)")
    lowest.set_xlabel("training tokens (millions)")
    lowest.set_xlim(left=0)
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper left", ncols=columns)
    figure.align_ylabels()
    return figure


def _apart_from_the_crowd(curves: Sequence[Curve], baseline: str) -> tuple[list[Curve], list[Curve]]:
    """The baseline and the best at the end, as many as can be told apart, and all others; each in their order."""

    ends = {
        curve.name: (curve.ended is not None, mean(list(run.values())[-1] for run in curve.runs.values()))
        for curve in curves
    }
    best = named_few(ends, lambda name: (name != baseline, ends[name]))
    return [curve for curve in curves if curve.name in best], [curve for curve in curves if curve.name not in best]


def _label(curve: Curve, is_reference: bool, look: Look, several_seeds: bool) -> str:
    """A stage's own baseline is called one; that of the whole sweep is known by its black line."""
    role = " (baseline)" if is_reference and look.color != BASELINE_COLOUR else ""
    return short_name(curve.name) + role + (f" (n = {len(curve.runs)})" if several_seeds else "")


def _legend_columns(labels: Sequence[str]) -> int:
    """How many entries fit side by side, by the length of the longest label in points."""
    return min(len(labels), max(1, int(WIDTH_INCHES * 72 / (40 + 4.3 * max(map(len, labels))))))


def _draw(axes: Axes, curve: Curve, look: Look, label: str | None = None) -> None:
    band = _band(curve)
    x = [tokens / 1e6 for tokens in band.tokens]
    every = max(1, len(x) // _MARKS_PER_CURVE)
    axes.plot(
        x, band.mean, color=look.color, ls=look.line, lw=look.width, marker=look.marker, ms=3.5, mew=0,
        markevery=(every // 2, every), label=label, zorder=look.order,
    )  # fmt: skip
    if curve.ended:
        axes.plot(x[-1], band.mean[-1], "x", color=look.color, ms=6, mew=1.8, zorder=5)
    if len(curve.runs) > 1:
        axes.fill_between(x, band.low, band.high, color=look.color, alpha=0.2, lw=0, zorder=1)


def _draw_crowd(axes: Axes, curves: Sequence[Curve], label: str | None = None) -> None:
    """All in one line with breaks, as a line of its own for each takes minutes for some thousands."""
    if not curves:
        return
    bands = [_band(curve) for curve in curves]
    x = [each for band in bands for each in (*(tokens / 1e6 for tokens in band.tokens), math.nan)]
    y = [each for band in bands for each in (*band.mean, math.nan)]
    axes.plot(x, y, color=CROWD.color, ls=CROWD.line, lw=CROWD.width, label=label, zorder=CROWD.order)
    ended = [band for curve, band in zip(curves, bands, strict=True) if curve.ended]
    if ended:
        ends = [band.tokens[-1] / 1e6 for band in ended], [band.mean[-1] for band in ended]
        axes.plot(*ends, "x", color=CROWD.color, ms=6, mew=1.8, zorder=CROWD.order)


def _draw_gaps(axes: Axes, gaps: Sequence[Curve], looks: Mapping[str, Look]) -> None:
    """Those without a look of their own are of the crowd."""
    axes.axhline(0, color="black", lw=1.4, zorder=2)
    for gap in gaps:
        if gap.name in looks:
            _draw(axes, gap, looks[gap.name])
    _draw_crowd(axes, [gap for gap in gaps if gap.name not in looks])
    longest = _longest(gaps)
    settled = [value for gap in gaps for value in _settled(gap, longest)]
    low, high = min([0.0, *settled]), max([0.0, *settled])
    pad = 0.08 * (high - low) or 1.0
    axes.set_ylim(low - pad, high + pad)
    axes.yaxis.set_major_locator(few_round_ticks())
    plain_ticks(axes.yaxis)


def _scale_upper(axes: Axes, curves: Sequence[Curve]) -> None:
    longest = _longest(curves)
    settled = [value for curve in curves for value in _settled(curve, longest)]
    scale_perplexity(axes, min(settled), max(settled))


def _name_ends(axes: Axes, curves: Sequence[Curve]) -> None:
    """Beside the cross where a run ended early, why and when; texts are moved apart where they would touch."""
    ends = [(curve, *list(curve.runs[0].items())[-1]) for curve in curves if curve.ended]
    to_display = axes.transData.transform
    heights = _apart([float(to_display((0, ppl))[1]) for _, _, ppl in ends], gap=9 * axes.figure.dpi / 72)
    for (curve, tokens, ppl), height in zip(ends, heights, strict=True):
        offset = (height - float(to_display((0, ppl))[1])) * 72 / axes.figure.dpi
        axes.annotate(
            f"{short_name(curve.name)} {curve.ended} {millions(tokens)}", (tokens / 1e6, ppl), xytext=(7, offset + 5),
            textcoords="offset points", va="center", fontsize="small", color=GREY, zorder=5,
        )  # fmt: skip


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """The places moved upwards as little as makes them at least `gap` apart, in the order they came."""
    moved = list(places)
    previous = float("-inf")
    for index in sorted(range(len(places)), key=lambda index: places[index]):
        moved[index] = previous = max(places[index], previous + gap)
    return moved


def _points(trial: Trial, measure: Measure) -> Points:
    return {row["tokens"]: row[measure.dev] for row in trial.history}


def _ending(trial: Trial) -> str | None:
    return {KILLED: "killed at", DIVERGED: "diverged after", FAILED: "failed after"}.get(trial.status)


def _gap(curve: Curve, reference: Curve) -> Curve:
    """By how many percent the curve lies above the reference, for the seeds that both have."""
    runs = {}
    for seed in sorted(curve.runs.keys() & reference.runs.keys()):
        base = reference.runs[seed]
        runs[seed] = {t: 100 * (ppl / base[t] - 1) for t, ppl in curve.runs[seed].items() if t in base}
    return Curve(curve.name, runs, curve.ended)


def _band(curve: Curve) -> _Band:
    runs = list(curve.runs.values())
    shared = sorted(set.intersection(*(set(run) for run in runs))) if runs else []
    values = [[run[tokens] for run in runs] for tokens in shared]
    return _Band(shared, [mean(v) for v in values], [min(v) for v in values], [max(v) for v in values])


def _longest(curves: Sequence[Curve]) -> int:
    return max(tokens for curve in curves for run in curve.runs.values() for tokens in run)


def _settled(curve: Curve, longest: int) -> list[float]:
    """The values that set the scale: past the first tenth of training, or else the last one."""
    points = [point for run in curve.runs.values() for point in run.items()]
    return [value for tokens, value in points if tokens >= _SCALED_FROM * longest] or [points[-1][1]]
