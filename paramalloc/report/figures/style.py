"""How every figure looks and is written: half a page wide, readable without colour, the same bytes each time.

Always holds: a variant keeps its colour (Okabe and Ito's, safe for the colour-blind), marker and line over all
figures; the baseline is black and heavier; a file holds no date.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from paramalloc.files import atomic_write
from paramalloc.formats import significant

DPI = 300
_DRAWING = threading.RLock()
WIDTH_INCHES = 3.5  # one column of a two-column page
_LONGEST_NAME = 28
GREY = "#444444"
BASELINE_COLOUR = "black"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("s", "^", "D", "v", "P", "p", "<")  # as many as do not divide by the colours, so that pairs differ
_LINES = ("--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.labelsize": 7.5,
    "axes.titlesize": 7.5,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.2,
    "svg.hashsalt": "paramalloc",
}


@dataclass(frozen=True)
class Look:
    """How one variant is drawn everywhere."""

    color: str
    marker: str
    line: str | tuple[int, tuple[int, ...]]
    width: float
    order: int


MOST_NAMED = 12  # variants that can be told apart in one figure
CROWD = Look("#bbbbbb", ".", "-", 0.6, 1)  # of the others, all alike


def named_few(names: Iterable[str], rank: Callable[[str], Any]) -> set[str]:
    """Of many, those that are named: the first by rank."""
    return set(sorted(names, key=rank)[:MOST_NAMED])


@contextmanager
def style() -> Iterator[None]:
    """Within it, figures are made and saved in the house style; afterwards matplotlib is as it was.

    matplotlib's settings are the whole process's, so one thread draws at a time.
    """
    with _DRAWING, matplotlib.rc_context(_SETTINGS):
        yield


def looks(names: Sequence[str], baseline: str) -> dict[str, Look]:
    """A look for each variant, by its place among the others."""
    others = [name for name in names if name != baseline]
    found = {
        name: Look(_COLOURS[rank % len(_COLOURS)], _MARKERS[rank % len(_MARKERS)], _LINES[rank % len(_LINES)], 1.1, 3)
        for rank, name in enumerate(others)
    }
    return found | {baseline: Look(BASELINE_COLOUR, "o", "-", 1.7, 2)}


def short_name(name: str, longest: int = _LONGEST_NAME) -> str:
    """A long name without its middle, so that it leaves room for the data."""
    return name if len(name) <= longest else f"{name[: longest // 2]}…{name[longest // 2 + 1 - longest :]}"


def new_figure(height_inches: float) -> Figure:
    return Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write `name`.png and `name`.svg, laid out alike. Errors: OSError when the folder cannot be written.

    The bytes are those of `figure.savefig`, which draws each figure twice.
    """
    buffer = io.BytesIO()
    figure.dpi = DPI
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})
    figure.set_layout_engine("none")  # what the PNG has found stays: a second search takes as long as drawing
    atomic_write(folder / f"{name}.png", buffer.getvalue())
    atomic_write(folder / f"{name}.svg", save_svg(figure))


def save_svg(figure: Figure) -> bytes:
    """The figure as an SVG document without a date."""
    buffer = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def scale_perplexity(axes: Axes, low: float, high: float) -> None:
    """Set the limits of a perplexity axis; logarithmic where the largest is more than twice the smallest."""
    if high > 2 * low:
        axes.set_yscale("log")
        pad = (high / low) ** 0.05
        axes.set_ylim(low / pad, high * pad)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    else:
        pad = 0.08 * (high - low) or 0.01 * high
        axes.set_ylim(low - pad, high + pad)
        axes.yaxis.set_major_locator(few_round_ticks())
    plain_ticks(axes.yaxis)


def few_round_ticks(intervals: int = 5) -> MaxNLocator:
    return MaxNLocator(intervals, steps=[1, 2, 5, 10])


def plain_ticks(axis: Axis) -> None:
    """Numbers in full (`1,000`, not 10^3) and no ticks between the labelled ones."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def tick_text(value: float) -> str:
    return significant(value) if abs(value) >= 1000 else f"{value:.4g}"
