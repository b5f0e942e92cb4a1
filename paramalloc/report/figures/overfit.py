"""Memorizing a little text: loss against optimiser steps, on a logarithmic axis down to what is asked for.

Always holds: what is drawn is what `paramalloc.training.overfit` wrote, every attempt of a variant in its colour;
beside one variant's curve stand the losses of a model that knows only part of the text.
"""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from paramalloc.report.figures.style import GREY, Look, new_figure, plain_ticks, short_name
from paramalloc.report.load import Json

_LEVELS = {"uniform": "knows nothing (ln V)", "unigram": "knows frequencies", "bigram": "knows the token before"}


def draw_overfit(checks: Mapping[str, Json], looks: Mapping[str, Look]) -> Figure | None:
    """The figure of the variants' checks, by name; None where none came as far as a step."""
    trained = {name: check for name, check in checks.items() if check["evidence"]["attempts"]}
    if not trained:
        return None
    figure = new_figure(2.6)
    axes = figure.subplots()
    for name, check in trained.items():
        _draw(axes, name, check, looks[name])
    (target,) = {check["target_loss"] for check in trained.values()}
    axes.axhline(target, color=GREY, lw=1, ls="--", zorder=1)
    _note(axes, target, f"memorized: below {target:g}", left=True)
    if len(trained) == 1:
        (check,) = trained.values()
        for level, meaning in _LEVELS.items():
            axes.axhline(check["evidence"]["levels"][level], color=GREY, lw=0.7, ls=":", zorder=1)
            _note(axes, check["evidence"]["levels"][level], meaning, below=level == "unigram")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    plain_ticks(axes.yaxis)
    axes.set_xlim(left=1)
    axes.set_xlabel("optimiser steps")
    axes.set_ylabel("loss (nats per token)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def _draw(axes: Axes, name: str, check: Json, look: Look) -> None:
    """Attempts that were given up are thin; the last one carries the name."""
    *given_up, last = check["evidence"]["attempts"]
    for attempt in given_up:
        axes.plot(*_points(attempt), color=look.color, ls=look.line, lw=0.5, zorder=look.order)
    label = f"{short_name(name)} (rate {last['learning_rate']:.1e})".replace("e-0", "e-")
    axes.plot(*_points(last), color=look.color, ls=look.line, lw=look.width, zorder=look.order, label=label)


def _points(attempt: Json) -> tuple[list[int], list[float]]:
    """Steps from 1 on, and the loss before each."""
    losses = [float("nan") if loss is None else loss for loss in attempt["losses"]]
    return list(range(1, len(losses) + 1)), losses


def _note(axes: Axes, loss: float, text: str, left: bool = False, below: bool = False) -> None:
    """Small words at a level, at the end of it where curves are not: they run from upper left to lower right."""
    axes.annotate(
        text, (0 if left else 1, loss), xycoords=axes.get_yaxis_transform(),
        xytext=(3 if left else 0, -2 if below else 1.5), textcoords="offset points", ha="left" if left else "right",
        va="top" if below else "bottom", fontsize="small", color=GREY,
    )  # fmt: skip
