"""Perplexity against the swept knob: the ranking above, the finalists below, each at its own budget.

Always holds: only scores on all of dev are compared; a killed run, which has none, is a cross at its last score on
the dev slice, with the tokens it had; one far above the others stands at the upper edge with its value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, stdev
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Transform

from paramalloc.report.formats import compact, millions, significant, span
from paramalloc.report.knob import Knob
from paramalloc.report.load import Json
from paramalloc.report.style import GREY, Look, few_round_ticks, new_figure, plain_ticks, short_name, tick_text
from paramalloc.report.variants import Measure, VariantResult
from paramalloc.results import DIVERGED, FAILED, KILLED

_LOG_FROM_RATIO = 8
# Shares of the range of the values:
_CLOSEST_TICKS = 0.12  # values closer than this cannot all be labelled
_NOTE_WIDTH = 0.25
_SIDE_MARGIN = 0.2
_LETTERS_IN_A_ROW = 36
_RIGHT_LABEL = 1.22  # of the panel's width: beyond the widest tick label, the same in every panel


@dataclass(frozen=True)
class KnobFigure:
    """What the figure is made from. `bpb_per_log_ppl`: see `variants.bits_per_byte_factor`."""

    knob: Knob
    variants: Sequence[VariantResult]
    measure: Measure
    looks: dict[str, Look]
    bpb_per_log_ppl: float | None

    @property
    def x(self) -> dict[str, float]:
        if self.knob.values is not None:
            return dict(self.knob.values)
        return {variant.name: float(rank) for rank, variant in enumerate(self.variants)}

    def draw(self) -> Figure | None:
        """The figure, with a panel for each stage that has a finished run; None without any."""
        panels = [
            panel
            for panel, variants in (
                (self._draw_ranking, [v for v in self.variants if v.ranking_score]),
                (self._draw_finalists, [v for v in self.variants if v.finished_finals]),
            )
            if variants
        ]
        if not panels:
            return None
        figure = new_figure(0.5 + 1.8 * len(panels))
        for axes, panel in zip(figure.subplots(len(panels), squeeze=False, sharex=True)[:, 0], panels, strict=True):
            panel(axes)
            axes.set_ylabel(self.measure.label)
            self._add_bits_per_byte(axes)
        self._finish_x_axis(axes)
        figure.align_ylabels()
        return figure

    def _draw_ranking(self, axes: Axes) -> None:
        scored = {v.name: v.ranking_score[self.measure.dev] for v in self.variants if v.ranking_score}
        tokens = next(v.ranking_score["tokens"] for v in self.variants if v.ranking_score)
        axes.set_title(f"ranking: {millions(tokens)} tokens, one seed")
        _set_limits(axes, list(scored.values()), headroom=0.6)
        self._connect(axes, scored)
        for name, ppl in scored.items():
            look = self.looks[name]
            axes.plot(self.x[name], ppl, look.marker, color=look.color, mfc="white", ms=6, mew=1.4, zorder=4)
        self._draw_unscored(axes)

    def _draw_unscored(self, axes: Axes) -> None:
        """The killed, neighbours' notes at different heights, and at the lower edge a word for the others."""
        previous, lowered = None, False
        for variant in sorted(self.variants, key=lambda variant: self.x[variant.name]):
            run, x = variant.ranking, self.x[variant.name]
            if run and run.status == KILLED and run.last_evaluation:
                lowered = previous is not None and not lowered and self._distance(previous, x) < _NOTE_WIDTH
                self._draw_killed(axes, variant.name, run.last_evaluation, lowered)
                previous = x
            elif run and run.status in (DIVERGED, FAILED):
                self._note(axes, variant.name, 0.15, axes.get_xaxis_transform(), run.status)

    def _draw_killed(self, axes: Axes, name: str, last: Json, lowered: bool) -> None:
        ppl = last[self.measure.dev]
        inside = ppl < axes.get_ylim()[1]
        y, transform = (ppl, axes.transData) if inside else (0.94, axes.get_xaxis_transform())
        look = self.looks[name]
        axes.plot(self.x[name], y, "x", color=look.color, ms=6, mew=1.8, zorder=4, transform=transform)
        value = "" if inside else f"\n(↑ {significant(ppl, 3)})"
        text = f"killed at\n{millions(last['tokens'])}{value}"
        self._note(axes, name, y, transform, text, below_points=29 if lowered else 5)

    def _note(self, axes: Axes, name: str, y: float, transform: Transform, text: str, below_points: int = 5) -> None:
        """Small words under a variant's mark."""
        axes.annotate(
            text, (self.x[name], y), xycoords=transform, xytext=(0, -below_points), textcoords="offset points",
            ha="center", va="top", fontsize="small", color=GREY,
        )  # fmt: skip

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
            look = self.looks[name]
            axes.errorbar(
                self.x[name], means[name], yerr=sds[name] or None, fmt=look.marker, color=look.color,
                ms=4.5, mew=1, capsize=3, elinewidth=1, zorder=4,
            )  # fmt: skip
            if len(values) > 1:
                beside = self._move(self.x[name], 0.04)  # where the mean does not hide them
                axes.plot([beside] * len(values), values, ".", color=look.color, ms=4, mew=0, zorder=4)

    def _move(self, x: float, share: float) -> float:
        """The place `share` of the values' range to the right of x (to the left if negative)."""
        low, high = min(self.x.values()), max(self.x.values())
        return x * (high / low) ** share if self._log_x else x + share * (high - low or 1.0)

    def _distance(self, a: float, b: float) -> float:
        """How far apart two values are drawn, as a share of the values' range."""
        low, high = min(self.x.values()), max(self.x.values())
        return abs(math.log(a / b) / math.log(high / low) if self._log_x else (a - b) / (high - low or 1.0))

    def _connect(self, axes: Axes, scores: dict[str, float]) -> None:
        """A thin line through the points of a numeric axis, to show the shape and not to interpolate."""
        if self.knob.values is not None:
            points = sorted((self.x[name], ppl) for name, ppl in scores.items())
            axes.plot(*zip(*points, strict=True), "-", color="#bbbbbb", lw=0.8, zorder=1)

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
        right.yaxis.set_label_coords(_RIGHT_LABEL, 0.5)
        right.spines["right"].set_visible(True)
        right.yaxis.set_major_locator(few_round_ticks())

    @property
    def _log_x(self) -> bool:
        values = self.x.values()
        return self.knob.values is not None and min(values) > 0 and max(values) >= _LOG_FROM_RATIO * min(values)

    def _finish_x_axis(self, axes: Axes) -> None:
        axes.set_xlabel(self.knob.label)
        if self._log_x:
            axes.set_xscale("log")
        axes.set_xlim(self._move(min(self.x.values()), -_SIDE_MARGIN), self._move(max(self.x.values()), _SIDE_MARGIN))
        baseline = next((variant.name for variant in self.variants if variant.is_baseline), None)
        if self.knob.values is None:
            shown = [short_name(name) + ("\nbaseline" if name == baseline else "") for name in self.x]
            lean = sum(map(len, self.x)) > _LETTERS_IN_A_ROW
            axes.set_xticks(
                list(self.x.values()), shown, rotation=35 if lean else 0, ha="right" if lean else "center",
                rotation_mode="anchor" if lean else "default",
            )  # fmt: skip
            return
        values = sorted(set(self.x.values()))
        if all(self._distance(a, b) >= _CLOSEST_TICKS for a, b in pairwise(values)):
            texts = {
                name: f"{_knob_text(x)}\nbaseline" if name == baseline else _knob_text(x)
                for name, x in self.x.items()
            }
            axes.set_xticks(list(self.x.values()), list(texts.values()))
            axes.minorticks_off()
        else:
            plain_ticks(axes.xaxis)


def _set_limits(axes: Axes, values: Sequence[float], headroom: float) -> None:
    """Room for the values, and above them for what is marked at the upper edge (a share of their range)."""
    low, high = min(values), max(values)
    size = high - low or 0.05 * high
    axes.set_ylim(low - 0.2 * size, high + headroom * size)
    axes.yaxis.set_major_locator(few_round_ticks())
    plain_ticks(axes.yaxis)


def _knob_text(value: float) -> str:
    return compact(value) if value >= 100_000 else tick_text(float(f"{value:.3g}"))
