"""Perplexity against the swept knob: the ranking above, the finalists below, each at its own budget.

Always holds: only scores on all of dev are compared; a killed run, which has none, is a cross at its last score on
the dev slice, with the tokens it had; one far above the others stands at the upper edge with its value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Transform

from paramalloc.formats import TIMES, millions, significant, span
from paramalloc.report.figures.knob_axis import KnobAxis
from paramalloc.report.figures.style import GREY, Look, few_round_ticks, new_figure, plain_ticks
from paramalloc.report.load import Json
from paramalloc.report.variants import Measure, VariantResult
from paramalloc.results import DIVERGED, FAILED, KILLED

_MOST_NOTES = 8  # variants; with more, notes would cover points, and the title explains the crosses
_NOTE_WIDTH = 0.25  # of the range of the values
_NOTE_POINTS, _LOWERED_POINTS = 5, 29
_UPPER_EDGE, _LOWER_EDGE = 0.94, 0.15  # of the panel's height
_RIGHT_LABEL = 1.17  # of the panel's width: beyond the widest tick label, the same in every panel


@dataclass(frozen=True)
class KnobFigure:
    """What the figure is made from. `bpb_per_log_ppl`: see `variants.bits_per_byte_factor`."""

    axis: KnobAxis
    variants: Sequence[VariantResult]
    measure: Measure
    looks: Mapping[str, Look]
    bpb_per_log_ppl: float | None

    def draw(self) -> Figure | None:
        """The figure, with a panel for each stage that has a finished run; None without any."""
        panels = []
        if any(variant.ranking_score for variant in self.variants):
            panels.append(self._draw_ranking)
        finalists = sum(bool(variant.finished_finals) for variant in self.variants)
        if finalists > 1 or (finalists and not panels):  # one alone shows no difference
            panels.append(self._draw_finalists)
        if not panels:
            return None
        figure = new_figure(0.5 + 1.8 * len(panels) + self.axis.extra_inches)
        grid = figure.subplots(len(panels), squeeze=False, sharex=True)
        for axes, panel in zip(grid[:, 0], panels, strict=True):
            panel(axes)
            axes.set_ylabel(self.measure.label)
            self._add_bits_per_byte(axes)
        self.axis.apply(axes)
        figure.align_ylabels()
        return figure

    def _draw_ranking(self, axes: Axes) -> None:
        finished = [variant for variant in self.variants if variant.ranking_score]
        scores = {variant.name: float(variant.ranking_score[self.measure.dev]) for variant in finished}
        killed = any(map(_last_of_killed, self.variants))
        crosses = f"; {TIMES} killed" if killed and not self._has_notes else ""
        axes.set_title(f"ranking: {millions(finished[0].ranking_score['tokens'])} tokens, one seed{crosses}")
        _set_limits(axes, list(scores.values()), headroom=0.6)
        self._connect(axes, scores)
        for name, ppl in scores.items():
            look = self.looks[name]
            axes.plot(self.axis.place(name), ppl, look.marker, color=look.color, mfc="white", ms=6, mew=1.4, zorder=4)
        self._draw_unscored(axes)

    def _draw_unscored(self, axes: Axes) -> None:
        """The killed, neighbours' notes at different heights, and at the lower edge a word for the others."""
        previous, lowered, top = None, False, axes.get_ylim()[1]
        for variant in sorted(self.variants, key=lambda variant: self.axis.place(variant.name)):
            run, x = variant.ranking, self.axis.place(variant.name)
            if last := _last_of_killed(variant):
                near = previous is not None and self.axis.distance(previous, x) < _NOTE_WIDTH
                previous, lowered = x, near and not lowered
                self._draw_killed(axes, variant.name, last, lowered, top)
            elif run and run.status in (DIVERGED, FAILED):
                self._note(axes, x, _LOWER_EDGE, axes.get_xaxis_transform(), run.status)

    def _draw_killed(self, axes: Axes, name: str, last: Json, lowered: bool, top: float) -> None:
        ppl, x = last[self.measure.dev], self.axis.place(name)
        inside = ppl < top
        y, transform = (ppl, axes.transData) if inside else (_UPPER_EDGE, axes.get_xaxis_transform())
        axes.plot(x, y, "x", color=self.looks[name].color, ms=6, mew=1.8, zorder=4, transform=transform)
        value = "" if inside else f"\n(↑ {significant(ppl, 3)})"
        text = f"killed at\n{millions(last['tokens'])}{value}"
        self._note(axes, x, y, transform, text, _LOWERED_POINTS if lowered else _NOTE_POINTS)

    def _note(
        self, axes: Axes, x: float, y: float, transform: Transform, text: str, below_points: int = _NOTE_POINTS
    ) -> None:
        """Small words under a variant's mark, if there is room for any."""
        if self._has_notes:
            axes.annotate(
                text, (x, y), xycoords=transform, xytext=(0, -below_points), textcoords="offset points",
                ha="center", va="top", fontsize="small", color=GREY,
            )  # fmt: skip

    @property
    def _has_notes(self) -> bool:
        return len(self.variants) <= _MOST_NOTES

    def _draw_finalists(self, axes: Axes) -> None:
        finalists = [variant for variant in self.variants if variant.finished_finals]
        scores = {v.name: [float(t.metrics[self.measure.dev]) for t in v.finished_finals] for v in finalists}
        means = {name: mean(values) for name, values in scores.items()}
        sds = {name: stdev(values) if len(values) > 1 else 0.0 for name, values in scores.items()}
        seeds = [len(values) for values in scores.values()]
        what = f"mean ± sd of {span(seeds)} seeds" if max(seeds) > 1 else "one seed"
        axes.set_title(f"finalists: {millions(finalists[0].finished_finals[0].tokens)} tokens, {what}")
        bars = [means[name] + sign * sds[name] for name in means for sign in (-1, 1)]
        _set_limits(axes, bars + [ppl for values in scores.values() for ppl in values], headroom=0.2)
        self._connect(axes, means)
        for name, values in scores.items():
            look, x = self.looks[name], self.axis.place(name)
            axes.errorbar(
                x, means[name], yerr=sds[name] or None, fmt=look.marker, color=look.color,
                ms=4.5, mew=1, capsize=3, elinewidth=1, zorder=4,
            )  # fmt: skip
            if len(values) > 1:
                beside = self.axis.move(x, 0.04)  # where the mean does not hide them
                axes.plot([beside] * len(values), values, ".", color=look.color, ms=4, mew=0, zorder=4)

    def _connect(self, axes: Axes, scores: Mapping[str, float]) -> None:
        """A dotted line that leads the eye along a numeric axis; through two points there is nothing to follow."""
        if self.axis.knob.values is not None and len(scores) > 2:
            points = sorted((self.axis.place(name), ppl) for name, ppl in scores.items())
            axes.plot(*zip(*points, strict=True), ":", color="#bbbbbb", lw=1, zorder=1)

    def _add_bits_per_byte(self, axes: Axes) -> None:
        factor = self.bpb_per_log_ppl
        if factor is None:
            return

        def to_bpb(ppl: Any) -> Any:
            return factor * np.log(ppl)

        def to_ppl(bpb: Any) -> Any:
            return np.exp(bpb / factor)

        right = axes.secondary_yaxis("right", functions=(to_bpb, to_ppl))
        right.set_ylabel("bits per byte")
        right.yaxis.set_label_coords(_RIGHT_LABEL, 0.5, transform=axes.transAxes)
        right.spines["right"].set_visible(True)
        right.yaxis.set_major_locator(few_round_ticks())


def _last_of_killed(variant: VariantResult) -> Json | None:
    """The score that it had last, where it is shown as a cross."""
    run = variant.ranking
    return run.last_evaluation if run and run.status == KILLED else None


def _set_limits(axes: Axes, values: Sequence[float], headroom: float) -> None:
    """Room for the values, and above them for what is marked at the upper edge (a share of their range)."""
    low, high = min(values), max(values)
    size = high - low or 0.05 * high
    lowest = max(low - 0.2 * size, 0.5 * low)  # above zero: bits per byte on the right axis are its logarithm
    axes.set_ylim(lowest, high + headroom * size)
    axes.yaxis.set_major_locator(few_round_ticks())
    plain_ticks(axes.yaxis)
