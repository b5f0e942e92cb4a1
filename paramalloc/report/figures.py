"""All figures of a report, as PNG at 300 dpi and SVG, and what to say beneath each.

Always holds: only what the trials' files say is drawn; a figure whose data are not there yet is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from matplotlib.figure import Figure

from paramalloc.report.cost_figures import draw_cost_figures
from paramalloc.report.curves_figure import draw_curves, finalist_curves, ranking_curves
from paramalloc.report.knob import swept_knob
from paramalloc.report.knob_axis import KnobAxis
from paramalloc.report.knob_figure import KnobFigure
from paramalloc.report.learning_rates import draw_rates, rate_searches
from paramalloc.report.load import SweepResults
from paramalloc.report.sanity_figures import draw_sanity_figures
from paramalloc.report.style import looks, save, style
from paramalloc.report.token_lengths_figure import NAME as TOKEN_LENGTHS
from paramalloc.report.token_lengths_figure import write_token_lengths
from paramalloc.report.variants import bits_per_byte_factor, measure, variant_results
from paramalloc.results import KILLED, ResultsFolder

_RATES_CAPTION = (
    "dev loss after the ranking against learning rate; rings: each variant's best; crosses: runs that did not finish"
)
_CHECK_CAPTIONS = {
    "overfit": "memorizing a little text: loss against optimiser steps",
    "lr_find": "range test: loss while the learning rate rises",
}
Section = Literal["results", "sanity", "data", "cost"]
SECTIONS: tuple[Section, ...] = get_args(Section)


@dataclass(frozen=True)
class Picture:
    """One figure on disk, `figures/<name>.png` and `.svg`, and the section of the report that shows it."""

    name: str
    caption: str
    section: Section = "results"


def draw_figures(results: SweepResults, folder: ResultsFolder) -> list[Picture]:
    """Draw and write every figure there are data for; returns them in the order of the report."""
    with style():
        drawn = make_figures(results)
        for picture, figure in drawn:
            save(figure, folder.figures, picture.name)
    pictures = [picture for picture, _ in drawn]
    checked = draw_sanity_figures(folder, [variant["name"] for variant in results.plan["variants"]])
    pictures += [Picture(name, _CHECK_CAPTIONS[kind], "sanity") for kind, name in checked.items()]
    if results.manifest:
        write_token_lengths(folder)
        pictures.append(Picture(TOKEN_LENGTHS, "how long the documents are, in tokens", "data"))
    captions = draw_cost_figures(results, folder)
    return pictures + [Picture(name, caption, "cost") for name, caption in captions.items()]


def make_figures(results: SweepResults) -> list[tuple[Picture, Figure]]:
    """The figures of the results, not written yet; call it within `style()`."""
    config, variants = results.config, variant_results(results)
    names, unit = [variant.name for variant in variants], measure(config)
    appearance, knob = looks(names, config.baseline_name), swept_knob(config, results.plan)
    drawn = []
    against = KnobFigure(
        axis=KnobAxis(knob, names, config.baseline_name),
        variants=variants,
        measure=unit,
        looks=appearance,
        bpb_per_log_ppl=bits_per_byte_factor(results, unit.dev),
    ).draw()
    if against:
        killed = any(variant.ranking and variant.ranking.status == KILLED for variant in variants)
        crosses = "; crosses: runs killed, at their last score on a slice of it" if killed else ""
        caption = f"{unit.label} on all of dev against {knob.label}{crosses}"
        drawn.append((Picture(f"ppl_vs_{knob.name}", caption), against))
    for name, stage, curves in (
        ("learning_curves", "ranking", ranking_curves(variants, unit)),
        ("learning_curves_finalists", "finalists: mean and range over seeds", finalist_curves(variants, unit)),
    ):
        if curves:
            picture = Picture(name, f"learning curves on a fixed slice of dev, {stage}")
            drawn.append((picture, draw_curves(curves, config.baseline_name, unit, appearance)))
    rates = draw_rates(rate_searches(results, variants), appearance)
    if rates:
        drawn.append((Picture("loss_vs_learning_rate", _RATES_CAPTION), rates))
    return drawn
