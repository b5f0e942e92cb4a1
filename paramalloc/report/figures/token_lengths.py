"""How long the documents are: the share of a split that is longer than so many tokens, beside the models' contexts.

Always holds: it is drawn from DATASET_MANIFEST.json alone, one panel for each vocabulary, points a quarter of an
octave apart; the shares beside the context lengths are those of the training documents, exact and not read off.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from paramalloc.files import read_json
from paramalloc.report.figures.style import GREY, few_round_ticks, new_figure, plain_ticks, save, style
from paramalloc.results import ResultsFolder

NAME = "token_lengths"
_TICKS = {30: (1, 2, 3, 5), 1000: (1, 3)}  # times powers of ten, where the axis spans no more than so much
_LOOKS = {"train": ("#0072B2", "-"), "dev": ("#D55E00", "--"), "test": ("#009E73", "-.")}
_MOST_PANELS = 3


def write_token_lengths(folder: ResultsFolder) -> None:
    """Write figures/token_lengths.png and .svg. Errors: OSError, also where there is no manifest."""
    with style():
        save(draw_token_lengths(read_json(folder.manifest)), folder.figures, NAME)


def draw_token_lengths(manifest: dict[str, Any]) -> Figure:
    """The figure; call it within `style()`."""
    vocabularies = _shown(manifest["vocabularies"])
    figure = new_figure(0.7 + 1.7 * len(vocabularies))
    panels = figure.subplots(len(vocabularies), sharex=True, squeeze=False)[:, 0]
    for panel, vocabulary in zip(panels, vocabularies, strict=True):
        _draw(panel, vocabulary, manifest["splits"])
        if len(vocabularies) > 1:
            panel.set_title(f"vocabulary of {vocabulary['vocab_size']:,}")
    _scale_lengths(panels[-1])
    panels[-1].set_xlabel("tokens in a document")
    figure.supylabel("documents that are longer\n(% of the split)", fontsize=7.5)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


def _shown(vocabularies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All, or of many the first, which is the baseline's, the smallest and the largest."""
    if len(vocabularies) <= _MOST_PANELS:
        return vocabularies
    by_size = sorted(vocabularies, key=lambda vocabulary: vocabulary["vocab_size"])
    chosen = [vocabularies[0], by_size[0], by_size[-1]]
    return [item for item in by_size if item in chosen]


def _draw(axes: Axes, vocabulary: dict[str, Any], splits: dict[str, Any]) -> None:
    for split, (color, line) in _LOOKS.items():
        edges, longer = _longer_than(vocabulary["splits"][split]["histogram"], splits[split]["documents"])
        label = f"{split} ({splits[split]['documents']:,})"
        axes.plot(edges, longer, color=color, ls=line, lw=1.3, label=label)
    for context, count in vocabulary["splits"]["train"]["documents_longer_than"].items():
        share = count / splits["train"]["documents"]
        low = share > 0.5  # the curve passes high above, so there is room at the foot
        axes.axvline(int(context), color="black", lw=0.9, ls=":")
        axes.annotate(
            f"context {int(context):,}: {share:.1%} longer", (int(context), 0 if low else 1),
            xycoords=("data", "axes fraction"), xytext=(-1, 2 if low else -1), textcoords="offset points",
            rotation=90, ha="right", va="bottom" if low else "top", fontsize="small", color=GREY,
        )  # fmt: skip
    axes.set_ylim(0, 105)
    axes.yaxis.set_major_locator(few_round_ticks(4))


def _longer_than(histogram: dict[str, int], documents: int) -> tuple[list[float], list[float]]:
    """The bins' upper edges in tokens, and the share of documents longer than each, in percent."""
    edges = [max(0.8, float(edge)) for edge in histogram]  # documents of no tokens are at no 0 of a log axis
    return edges, [100 * (1 - within / documents) for within in accumulate(histogram.values())]


def _scale_lengths(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(left=low / 1.2)  # room for what is written beside a context
    digits = next((digits for span, digits in _TICKS.items() if high <= span * low), (1,))
    axes.xaxis.set_major_locator(LogLocator(subs=digits))
    plain_ticks(axes.xaxis)
