"""Loss against learning rate: what each variant was ranked at, which rate stands for it, and whether it is an edge.

Always holds: only variants that were ranked at several rates are here; a loss is nats per token of the baseline's
tokenizer on all of dev, so a run that was killed or diverged has none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import zip_longest

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paramalloc.report.figures.style import (
    CROWD,
    Look,
    few_round_ticks,
    named_few,
    new_figure,
    plain_ticks,
    short_name,
)
from paramalloc.report.load import SweepResults
from paramalloc.report.variants import VariantResult
from paramalloc.results import FINISHED, JUDGED_BY

_COLUMNS, _TITLE_LETTERS = 3, 18
_PANEL_INCHES, _FRAME_INCHES = 1.05, 0.6


@dataclass(frozen=True)
class RateSearch:
    """One variant's ranking runs by peak learning rate; `losses` holds those that finished."""

    variant: str
    tried: tuple[float, ...]
    losses: dict[float, float]
    endings: dict[float, str]  # of the runs that ended otherwise: killed, diverged, failed

    @property
    def best(self) -> float | None:
        """The rate that stands for the variant; of equal losses the lower rate."""
        return min(self.losses, key=lambda rate: (self.losses[rate], rate), default=None)

    @property
    def edge(self) -> str | None:
        """`lowest` or `highest` where the best rate is the first or last of those tried: a better may lie beyond."""
        if self.best is None:
            return None
        return {min(self.tried): "lowest", max(self.tried): "highest"}.get(self.best)


def rate_searches(results: SweepResults, variants: list[VariantResult]) -> list[RateSearch]:
    """Of every variant whose learning rate is a list, the baseline first."""
    found = []
    configured = {variant.name: variant.training.learning_rate for variant in results.config.variants}
    for variant in variants:
        rates = configured[variant.name]
        if isinstance(rates, tuple) and len(rates) > 1:
            ended = [run for run in variant.ranking_runs if run.metrics]
            losses = {
                run.metrics["learning_rate"]: math.log(run.metrics[JUDGED_BY])
                for run in ended
                if run.status == FINISHED
            }
            endings = {run.metrics["learning_rate"]: run.status for run in ended if run.status != FINISHED}
            found.append(RateSearch(variant.name, tuple(sorted(rates)), losses, endings))
    return found


def edge_warnings(searches: list[RateSearch]) -> list[str]:
    """A sentence for each, the best variant first."""
    ranked = sorted(searches, key=lambda search: min(search.losses.values(), default=math.inf))
    return [
        f"{search.variant} did best at the {search.edge} learning rate tried, {search.best:g}: a better one may lie "
        "beyond it."
        for search in ranked
        if search.edge
    ]


def draw_rates(searches: list[RateSearch], looks: dict[str, Look]) -> Figure | None:
    """Dev loss at the end of the ranking against learning rate: a panel for each variant, the others faint behind.

    Of many variants the baseline, which is the first, and the best have panels. A ring is around each variant's best;
    a run without a final score is a cross at the upper edge. None where no run has finished.
    """
    losses = [loss for search in searches for loss in search.losses.values()]
    if not losses:
        return None
    shown = with_panels(searches)
    columns = min(len(shown), _COLUMNS)
    rows = math.ceil(len(shown) / columns)
    figure = new_figure(_FRAME_INCHES + _PANEL_INCHES * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    of_all = zip(*map(_curve, searches), strict=True)  # rates, losses
    faint = [[value for of_one in values for value in (*of_one, math.nan)] for values in of_all]
    for axes, search in zip_longest(panels.flat, shown):
        if search is None:
            axes.set_axis_off()
            continue
        axes.plot(*faint, color=CROWD.color, lw=CROWD.width, zorder=CROWD.order)
        _draw_search(axes, search, looks[search.variant])
        axes.set_title(short_name(search.variant, _TITLE_LETTERS))
    _scale(panels[0, 0], searches, losses)
    for axes in panels[:, 1:].flat:
        axes.tick_params(axis="y", left=False)
    for column in range(columns):
        lowest = (len(shown) - 1 - column) // columns  # the last panel in it
        panels[lowest, column].tick_params(axis="x", labelbottom=True, rotation=45)
    figure.supxlabel("peak learning rate", fontsize=7.5)
    figure.supylabel("dev loss after the ranking\n(nats per baseline token)", fontsize=7.5)
    return figure


def with_panels(searches: list[RateSearch]) -> list[RateSearch]:
    """Those that a figure has room for: all, or the first and the best."""
    lowest = {search.variant: min(search.losses.values(), default=math.inf) for search in searches}
    named = named_few(lowest, lambda name: (name != searches[0].variant, lowest[name]))
    return [search for search in searches if search.variant in named]


def _curve(search: RateSearch) -> tuple[list[float], list[float]]:
    rates = sorted(search.losses)
    return rates, [search.losses[rate] for rate in rates]


def _draw_search(axes: Axes, search: RateSearch, look: Look) -> None:
    axes.plot(
        *_curve(search), color=look.color, ls=look.line, lw=look.width, marker=look.marker, ms=3.5, mew=0,
        label=search.variant, zorder=3,
    )  # fmt: skip
    if search.best is not None:
        axes.plot(search.best, search.losses[search.best], "o", ms=8, mfc="none", mec=look.color, mew=1, zorder=4)
    for rate in search.endings:
        axes.plot(rate, 0.94, "x", color=look.color, ms=5, mew=1.5, transform=axes.get_xaxis_transform(), zorder=4)


def _scale(axes: Axes, searches: list[RateSearch], losses: list[float]) -> None:
    """Limits and ticks of all panels, which share their axes."""
    rates = sorted({rate for search in searches for rate in search.tried})
    axes.set_xscale("log")
    axes.set_xticks(rates)
    axes.set_xlim(rates[0] / 1.3, rates[-1] * 1.3)
    plain_ticks(axes.xaxis)
    pad = 0.12 * (max(losses) - min(losses)) or 0.01 * max(losses)
    axes.set_ylim(min(losses) - pad, max(losses) + 1.5 * pad)
    axes.yaxis.set_major_locator(few_round_ticks(4))
