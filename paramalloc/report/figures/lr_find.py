"""Learning-rate range tests: loss against learning rate, a panel for each variant.

Always holds: what is drawn is what `paramalloc.training.lr_find` wrote; shaded are the rates above which the loss
fell no further; the scale is set by the descent, so a loss that shoots up leaves the panel.
"""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from paramalloc.report.figures.style import few_round_ticks, new_figure, plain_ticks, short_name
from paramalloc.report.load import Json

_SUGGESTED, _CONFIGURED, _SHADE = "#D55E00", "#0072B2", "#eeeeee"
_PANEL_INCHES, _FRAME_INCHES = 1.35, 0.85


def draw_lr_find(tests: Mapping[str, Json]) -> Figure | None:
    """The figure of the variants' tests, by name; None where none saw a finite loss."""
    tests = {name: test for name, test in tests.items() if test["smoothed"]}
    if not tests:
        return None
    figure = new_figure(_FRAME_INCHES + _PANEL_INCHES * max(len(tests), 1.4))
    panels = figure.subplots(len(tests), squeeze=False, sharex=True)[:, 0]
    for axes, (name, test) in zip(panels, tests.items(), strict=True):
        _draw(axes, test)
        axes.set_title(short_name(name))
    _set_rates(panels[-1], tests)
    figure.supylabel("loss (nats per token)", fontsize=7.5)
    entries = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in panels]
    handles = {label: handle for panel in entries for handle, label in panel}  # each label once
    figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=3)
    return figure


def _draw(axes: Axes, test: Json) -> None:
    rates, smoothed = test["learning_rates"], test["smoothed"]
    losses = [float("nan") if loss is None else loss for loss in test["losses"]]
    axes.plot(rates, losses, ".", color="#888888", ms=3.5, mew=0, zorder=2, label="each step")
    axes.plot(rates[: len(smoothed)], smoothed, color="black", lw=1.3, zorder=3, label="smoothed")
    if test["unstable_above"] is not None:
        axes.axvspan(test["unstable_above"], 10 * rates[-1], color=_SHADE, lw=0, zorder=0, label="falls no further")
    for rate in test["configured"]:
        axes.axvline(rate, color=_CONFIGURED, lw=1.1, ls="--", zorder=4, label="in the sweep file")
    if test["suggestion"] is not None:
        axes.axvline(test["suggestion"], color=_SUGGESTED, lw=1.3, zorder=5, label="suggested")
        axes.annotate(
            f"{test['suggestion']:.1e}".replace("e-0", "e-"), (test["suggestion"], 1), xytext=(-3, -2),
            xycoords=axes.get_xaxis_transform(), textcoords="offset points", ha="right", va="top", color=_SUGGESTED,
        )  # fmt: skip
    low, high = min(smoothed), max(smoothed[: len(smoothed) // 2 + 1])
    pad = 0.15 * (high - low) or 0.05 * high
    axes.set_ylim(low - pad, high + 2 * pad)
    axes.yaxis.set_major_locator(few_round_ticks(4))
    plain_ticks(axes.yaxis)


def _set_rates(axes: Axes, tests: Mapping[str, Json]) -> None:
    tried = [rate for test in tests.values() for rate in (*test["learning_rates"], *test["configured"])]
    axes.set_xscale("log")
    axes.set_xlim(min(tried), max(tried))
    axes.xaxis.set_major_locator(LogLocator())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("learning rate")
