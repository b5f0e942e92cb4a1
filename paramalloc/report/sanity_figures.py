"""The figures of the checks before a sweep, from the JSON files that the checks left.

Always holds: one figure for each kind of check, with every variant that has been checked; a lone variant's bears its
name. `draw_sanity_figures(ResultsFolder(root), ["baseline", "another"])`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from paramalloc.files import read_json
from paramalloc.report.load import Json
from paramalloc.report.lr_find_figure import draw_lr_find
from paramalloc.report.overfit_figure import draw_overfit
from paramalloc.report.style import looks, save, style
from paramalloc.results import ResultsFolder

Draw = Callable[[dict[str, Json]], Figure | None]


def draw_sanity_figures(folder: ResultsFolder, variants: Sequence[str]) -> list[str]:
    """Write figures/<name>.png and .svg for whatever was checked; returns the names.

    Args:
        folder: of the sweep.
        variants: the names of all, the baseline first.
    """
    appearance = looks(variants, baseline=variants[0])
    kinds: tuple[tuple[str, Callable[[str], Path], Draw], ...] = (
        ("overfit", folder.overfit, lambda checks: draw_overfit(checks, appearance)),
        ("lr_find", folder.lr_find, draw_lr_find),
    )
    names = []
    with style():
        for kind, file_of, draw in kinds:
            checked = [variant for variant in variants if file_of(variant).exists()]
            figure = draw({variant: read_json(file_of(variant)) for variant in checked}) if checked else None
            if figure:
                names.append(file_of(checked[0]).stem if len(checked) == 1 else kind)
                save(figure, folder.figures, names[-1])
    return names
