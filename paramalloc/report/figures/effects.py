"""Effect sizes: each finalist's improvement over the baseline with its 95 % interval, and what was asked for.

Always holds: the numbers are those of the verdict in decisions.jsonl; a challenger known from one seed has a point
and no interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from paramalloc.config import FinalistsConfig
from paramalloc.report.figures.style import Look, few_round_ticks, new_figure, short_name
from paramalloc.sweep.runbook.selection import Comparison

_ROW_INCHES, _FRAME_INCHES = 0.36, 0.8


def draw_effects(
    comparisons: Sequence[Comparison], baseline: str, rules: FinalistsConfig, looks: Mapping[str, Look]
) -> Figure:
    """A row for each of at least one challenger, the best at the top; right of zero is better than the baseline."""
    figure = new_figure(_FRAME_INCHES + _ROW_INCHES * max(2, len(comparisons)))
    axes = figure.subplots()
    margin, equal = 100 * rules.win_margin, 100 * rules.equivalence_margin
    axes.axvspan(-equal, equal, color="#bbbbbb", lw=0, zorder=0, label=f"counts as equal (±{equal:g}%)")
    axes.axvline(0, color="black", lw=1.1, zorder=1)
    axes.axvline(margin, color="#444444", lw=1.1, ls=(0, (4, 2)), zorder=1, label=f"asked of a winner ({margin:g}%)")
    for row, item in enumerate(comparisons):
        look = looks[item.variant]
        if item.low is not None and item.high is not None:
            axes.plot([100 * item.low, 100 * item.high], [row, row], color=look.color, lw=1.6, zorder=3)
        axes.plot(100 * item.improvement, row, look.marker, color=look.color, ms=5.5, mew=0, zorder=4)
    axes.set_yticks(range(len(comparisons)), [_words(item) for item in comparisons])
    axes.set_ylim(len(comparisons) - 0.4, -0.6)  # the first row at the top
    axes.grid(visible=False, axis="y")
    ends = [0.0, margin, *(100 * x for i in comparisons for x in (i.improvement, i.low, i.high) if x is not None)]
    pad = 0.08 * (max(ends) - min(ends))
    axes.set_xlim(min(ends) - pad, max(ends) + pad)
    axes.xaxis.set_major_locator(few_round_ticks())
    axes.set_xlabel(f"lower dev PPL than {short_name(baseline)} (%)")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return figure


def _words(item: Comparison) -> str:
    return f"{short_name(item.variant)}\n{item.improvement:+.1%}, {item.outcome}"
