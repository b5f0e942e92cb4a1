"""All figures of a report, as PNG at 300 dpi and SVG, and what to say beneath each.

Always holds: only what the trials' files say is drawn; a figure whose data are not there yet is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from paramalloc.report.curves_figure import draw_curves, finalist_curves, ranking_curves
from paramalloc.report.knob import swept_knob
from paramalloc.report.knob_axis import KnobAxis
from paramalloc.report.knob_figure import KnobFigure
from paramalloc.report.load import SweepResults
from paramalloc.report.style import looks, save, style
from paramalloc.report.variants import bits_per_byte_factor, measure, variant_results
from paramalloc.results import ResultsFolder


@dataclass(frozen=True)
class Picture:
    """One figure on disk: `figures/<name>.png` and `.svg`."""

    name: str
    caption: str


def draw_figures(results: SweepResults, folder: ResultsFolder) -> list[Picture]:
    """Draw and write every figure there are data for; returns them in the order of the report."""
    pictures = []
    with style():
        for name, caption, figure in _figures(results):
            save(figure, folder.figures, name)
            pictures.append(Picture(name, caption))
    return pictures


def _figures(results: SweepResults) -> list[tuple[str, str, Figure]]:
    config, variants = results.config, variant_results(results)
    unit, baseline = measure(config), config.baseline_name
    names = [variant.name for variant in variants]
    appearance, knob = looks(names, baseline), swept_knob(config, results.plan)
    axis = KnobAxis(knob, names, baseline)
    found = []
    against = KnobFigure(axis, variants, unit, appearance, bits_per_byte_factor(results, unit.dev)).draw()
    if against:
        found.append((f"ppl_vs_{knob.name}", f"{unit.label} on all of dev against {knob.label}", against))
    for name, stage, curves in (
        ("learning_curves", "ranking", ranking_curves(variants, unit)),
        ("learning_curves_finalists", "finalists", finalist_curves(variants, unit)),
    ):
        if curves:
            drawn = draw_curves(curves, baseline, unit, appearance)
            found.append((name, f"learning curves of the {stage}, on a fixed slice of dev", drawn))
    return found
