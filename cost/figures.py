"""Figures of money: spending over time, prices per zone, dollars against bits per byte.

Always holds: colours are Okabe and Ito's, safe for the colour-blind, and never the only difference; matplotlib
is imported only when one is drawn; the same data give the same bytes.
Use: `png(spending_figure(spending(rows, fixed), budget_usd))`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cost.bill import BOOT, FAILED, HEAD, IDLE, KILLED, LOST, USEFUL
from cost.prices import ON_DEMAND
from cost.series import Samples, Spending

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 300
WIDTH_INCHES, HEIGHT_INCHES = 3.5, 2.5
_GREY = "#444444"
_LOOKS = {  # colour and hatch; what was not useful is hatched
    USEFUL: ("#0072B2", ""),
    KILLED: ("#E69F00", "////"),
    LOST: ("#D55E00", "xxxx"),
    FAILED: ("#CC79A7", "...."),
    BOOT: ("#56B4E9", "----"),
    IDLE: ("#BBBBBB", "\\\\\\\\"),
    HEAD: ("#009E73", ""),
}
_LINES = (("#0072B2", "-"), ("#D55E00", "--"), ("#009E73", "-."), ("#CC79A7", ":"), ("#E69F00", (0, (5, 1, 1, 1))))
_MARKERS = "s^DvPp<"
_CROWD = 60  # samples, above which markers hide the line
_MOST_NAMED = 12  # points
_SHORT_SECONDS = 2 * 3600.0  # of a sweep that is told in minutes
_LONG_LABEL = 18  # letters, above which only two labels fit beside each other
_NOTE: dict[str, Any] = {"textcoords": "offset points", "fontsize": 6.5, "color": _GREY}
_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.4,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "svg.hashsalt": "cost",
}


@dataclass(frozen=True)
class Point:
    """One variant: what its trials cost, its bits per byte, and how it is drawn (matplotlib's colour and marker).

    `is_baseline`: it is named, however many there are.
    """

    variant: str
    usd: float
    bpb: float
    color: str = "#0072B2"
    marker: str = "o"
    is_baseline: bool = False


def png(figure: Figure) -> bytes:
    return _rendered(figure, "png", {"Software": None})


def svg(figure: Figure) -> bytes:
    return _rendered(figure, "svg", {"Date": None, "Creator": None})


def spending_figure(spent: Spending, budget_usd: float | None) -> Figure:
    """Dollars spent over time, stacked by use, with the budget as a line where the scale allows one."""
    with _drawing() as (figure, axes):
        used = {use: usd for use, usd in spent.usd_by_use.items() if usd and usd[-1] > 0}
        unit, seconds = ("hours", 3600) if _lasted(spent) > _SHORT_SECONDS else ("minutes", 60)
        passed = [(time - spent.times[0]) / seconds for time in spent.times]
        if used:
            stacks = axes.stackplot(
                passed,
                *used.values(),
                labels=[use.replace("_", " ") for use in used],
                linewidth=0.4,
                edgecolor="white",
            )
            for use, stack in zip(used, stacks, strict=True):
                colour, hatch = _LOOKS[use]
                stack.set(facecolor=colour, hatch=hatch)
        total = sum(usd[-1] for usd in used.values())
        if budget_usd is not None and budget_usd <= max(4 * total, 0.01):
            axes.axhline(budget_usd, color="black", linestyle="--", linewidth=1, label="budget")
        elif budget_usd is not None:
            note = f"budget ${budget_usd:,.2f}, beyond this scale"
            axes.set_title(note, fontsize=7, color=_GREY, loc="right")
        axes.set(xlabel=f"{unit} since the first node", ylabel="spent (USD)")
        axes.margins(x=0)
        axes.set_ylim(bottom=0)
        _legend_above(figure)
    return figure


def _lasted(spent: Spending) -> float:
    return spent.times[-1] - spent.times[0] if spent.times else 0.0


def price_figure(markets: Sequence[Samples], until: float) -> Figure:
    """Price samples of each market as steps up to `until` (Unix seconds); on-demand prices in grey."""
    with _drawing() as (figure, axes):
        start = min((market.times[0] for market in markets), default=until)
        listed = {market.instance_type: market for market in markets if market.lifecycle == ON_DEMAND}
        for instance_type, market in listed.items():
            usd = market.usd_per_hour[-1]
            axes.axhline(usd, color=_GREY, linestyle=":", linewidth=0.8)
            note = f"{instance_type} on demand"
            axes.annotate(note, (1, usd), (-2, 2), **_NOTE, xycoords=("axes fraction", "data"), ha="right")
        for rank, market in enumerate(market for market in markets if market.lifecycle != ON_DEMAND):
            colour, line = _LINES[rank % len(_LINES)]
            known = [
                (time, usd) for time, usd in zip(market.times, market.usd_per_hour, strict=True) if time <= until
            ]
            steps = [*known, (until, known[-1][1])] if known else []
            axes.step(
                [(time - start) / 3600 for time, _ in steps],
                [usd for _, usd in steps],
                where="post",
                color=colour,
                linestyle=line,
                linewidth=1,
                marker=_MARKERS[rank % len(_MARKERS)] if len(steps) < _CROWD else "",
                markersize=2.5,
                label=f"{market.instance_type} {market.zone}",
            )
        since = datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%d %H:%M UTC")
        axes.set(xlabel=f"hours since {since}", ylabel="price (USD per hour)")
        axes.set_ylim(bottom=0)
        _legend_above(figure)
    return figure


def dollars_against_bpb(points: Sequence[Point]) -> Figure:
    """What each variant cost against how well it compresses; lower is better in both. Of many the best are named."""
    with _drawing() as (figure, axes):
        dearest = max((point.usd for point in points), default=0.0)
        named = sorted(points, key=lambda point: (not point.is_baseline, point.bpb))[:_MOST_NAMED]
        others = [point for point in points if point not in named]
        if others:
            places = [point.usd for point in others], [point.bpb for point in others]
            axes.plot(*places, ".", color=_LOOKS[IDLE][0], markersize=3, zorder=1)
        for point in named:
            axes.plot(point.usd, point.bpb, color=point.color, marker=point.marker, markersize=4.5)
            right = point.usd > 0.6 * dearest  # its name goes to its left, so that it stays inside
            place: dict[str, Any] = {"xytext": (-5, 4) if right else (5, 4), "ha": "right" if right else "left"}
            axes.annotate(point.variant, (point.usd, point.bpb), **_NOTE, **place)
        axes.set(xlabel="spent on the variant's ranking (USD)", ylabel="dev bits per byte")
        axes.margins(x=0.18, y=0.15)
        axes.set_xlim(left=0)
    return figure


@contextmanager
def _drawing() -> Iterator[tuple[Figure, Axes]]:
    """An empty figure in the style of all; outside, matplotlib stays as it was."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), layout="constrained")
        yield figure, figure.add_subplot()


def _legend_above(figure: Figure) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        columns = 2 if max(map(len, labels)) > _LONG_LABEL else 3
        figure.legend(handles, labels, loc="outside upper left", ncols=columns)


def _rendered(figure: Figure, kind: str, metadata: dict[str, Any]) -> bytes:
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context(_SETTINGS):
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
    return buffer.getvalue()
