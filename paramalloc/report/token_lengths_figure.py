"""How long the documents are: their lengths in tokens by split, beside the context lengths of the models.

Always holds: it is drawn from DATASET_MANIFEST.json alone, one panel for each vocabulary, bins a quarter of an octave
wide; the shares beside the context lengths are those of the training documents, exact and not read off the bins.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from paramalloc.files import read_json
from paramalloc.report.style import GREY, few_round_ticks, new_figure, plain_ticks, save, style
from paramalloc.results import ResultsFolder

NAME = "token_lengths"
_TICKS = {30: (1, 2, 3, 5), 1000: (1, 3)}  # times powers of ten, where the axis spans no more than so much
_LOOKS = {"train": ("#0072B2", "-"), "dev": ("#D55E00", "--"), "test": ("#009E73", "-.")}


def write_token_lengths(folder: ResultsFolder) -> None:
    """Write figures/token_lengths.png and .svg. Errors: OSError, also where there is no manifest."""
    with style():
        save(draw_token_lengths(read_json(folder.manifest)), folder.figures, NAME)


def draw_token_lengths(manifest: dict[str, Any]) -> Figure:
    """The figure; call it within `style()`."""
    vocabularies = manifest["vocabularies"]
    figure = new_figure(0.7 + 1.7 * len(vocabularies))
    panels = figure.subplots(len(vocabularies), sharex=True, squeeze=False)[:, 0]
    for panel, vocabulary in zip(panels, vocabularies, strict=True):
        _draw(panel, vocabulary, manifest["splits"])
        if len(vocabularies) > 1:
            panel.set_title(f"vocabulary of {vocabulary['vocab_size']:,}")
    _scale_lengths(panels[-1])
    panels[-1].set_xlabel("tokens in a document")
    figure.supylabel("documents (% of the split)", fontsize=7.5)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


def _draw(axes: Axes, vocabulary: dict[str, Any], splits: dict[str, Any]) -> None:
    for split, (color, line) in _LOOKS.items():
        counts = vocabulary["splits"][split]["histogram"]
        edges = [max(0.8, int(edge)) for edge in counts]  # the bin of one token begins at no 0 of a log axis
        shares = [100 * count / splits[split]["documents"] for count in list(counts.values())[1:]]
        label = f"{split} ({splits[split]['documents']:,})"
        axes.stairs(shares, edges, color=color, ls=line, lw=1.2, label=label)
        if split == "train":
            axes.stairs(shares, edges, color=color, alpha=0.15, fill=True)
    for context, longer in vocabulary["splits"]["train"]["documents_longer_than"].items():
        axes.axvline(int(context), color="black", lw=0.9, ls=":")
        axes.annotate(
            f"context {int(context):,}: {longer / splits['train']['documents']:.1%} longer", (int(context), 1),
            xycoords=("data", "axes fraction"), xytext=(-1, -1), textcoords="offset points", rotation=90, ha="right",
            va="top", fontsize="small", color=GREY,
        )  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(few_round_ticks(4))


def _scale_lengths(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(left=low / 1.2)  # room for what is written beside a context
    digits = next((digits for span, digits in _TICKS.items() if high <= span * low), (1,))
    axes.xaxis.set_major_locator(LogLocator(subs=digits))
    plain_ticks(axes.xaxis)
