"""The figures of the checks before a sweep, from the JSON files that the checks left.

Always holds: one figure for each kind of check, with every variant that has been checked; a lone variant's bears its
name. `draw_sanity_figures(ResultsFolder(root), ["baseline", "another"])`.
"""

from __future__ import annotations

from collections.abc import Sequence

from paramalloc.report.figures.lr_find import draw_lr_find
from paramalloc.report.figures.overfit import draw_overfit
from paramalloc.report.figures.style import looks, save, style
from paramalloc.report.load import load_checks
from paramalloc.results import ResultsFolder


def draw_sanity_figures(folder: ResultsFolder, variants: Sequence[str]) -> dict[str, str]:
    """Write figures/<name>.png and .svg for whatever was checked; returns the names by kind: `overfit`, `lr_find`.

    Args:
        folder: of the sweep.
        variants: the names of all, the baseline first.

    Errors: UserError for a check's file that is damaged.
    """
    appearance = looks(variants, baseline=variants[0])
    names = {}
    with style():
        for kind, checks in load_checks(folder, variants).items():
            if checks:
                figure = draw_overfit(checks, appearance) if kind == "overfit" else draw_lr_find(checks)
                if figure:
                    names[kind] = f"{kind}-{next(iter(checks))}" if len(checks) == 1 else kind
                    save(figure, folder.figures, names[kind])
    return names
