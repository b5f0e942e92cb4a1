"""All figures of a report, as PNG at 300 dpi and SVG, and what to say beneath each.

Always holds: only what the trials' files say is drawn; a figure whose data are not there yet is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from paramalloc.report.figures.cost import draw_cost_figures
from paramalloc.report.figures.curves import draw_curves, finalist_curves, ranking_curves
from paramalloc.report.figures.effects import draw_effects
from paramalloc.report.figures.knob import KnobFigure
from paramalloc.report.figures.knob_axis import KnobAxis
from paramalloc.report.figures.pareto import candidates, draw_pareto
from paramalloc.report.figures.pictures import Picture
from paramalloc.report.figures.sanity import draw_sanity_figures
from paramalloc.report.figures.search import draw_front, draw_search_knobs
from paramalloc.report.figures.style import Look, looks, named_few, save, style
from paramalloc.report.figures.token_lengths import NAME as TOKEN_LENGTHS
from paramalloc.report.figures.token_lengths import write_token_lengths
from paramalloc.report.kills import draw_kills, killed_trials
from paramalloc.report.knob import swept_knobs
from paramalloc.report.learning_rates import draw_rates, rate_searches, with_panels
from paramalloc.report.load import SweepResults
from paramalloc.report.search import searched, shown_in_short
from paramalloc.report.variants import (
    Measure,
    VariantResult,
    bits_per_byte_factor,
    measure,
    variant_results,
    with_finals_of_origin,
)
from paramalloc.results import KILLED, ResultsFolder
from paramalloc.sweep.runbook.selection import Comparison

_RATES_CAPTION = (
    "dev loss after the ranking against learning rate, a panel for {}; rings: its best; "
    "crosses: runs that did not finish"
)
_CHECK_CAPTIONS = {
    "overfit": "memorizing a little text: loss against optimiser steps",
    "lr_find": "range test: loss while the learning rate rises",
}

Drawn = tuple[Picture, Figure]


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
    captions = draw_cost_figures(results, folder, _looks(results))
    return pictures + [Picture(name, caption, "cost") for name, caption in captions.items()]


def make_figures(results: SweepResults) -> list[Drawn]:
    """The figures of the results, the most important first, not written yet; call it within `style()`."""
    variants = variant_results(results)
    appearance = _looks(results)
    effects = _effects(results, appearance)
    curves = curve_figures(results)
    if results.config.search:
        first = [*_search(results, variants, appearance), *curves, *effects]
    elif results.is_runbook:
        first = [*effects, *_against_knobs(results, variants, appearance), *curves]
    else:
        against = _against_knobs(results, variants, appearance)
        first = [*against[:1], *curves, *against[1:], *effects]
    return [
        *first,
        *_pareto(variants, appearance),
        *_rates(results, variants, appearance),
        *_kills(results, appearance),
    ]


def _looks(results: SweepResults) -> dict[str, Look]:
    """Every variant's, those of one stage as different as can be."""
    names = [variant["name"] for variant in results.plan["variants"]]
    return looks(names, results.config.baseline_name)


def curve_figures(results: SweepResults) -> list[Drawn]:
    """Learning curves alone: what there is to see while a sweep runs. A runbook has a figure for each ranking."""
    unit, appearance = measure(results.config), _looks(results)
    variants = shown_in_short(results, variant_results(results))
    drawn = []
    for stage, members in results.stages.items():
        names = {variant.name for variant in members}
        curves = ranking_curves([variant for variant in variants if variant.name in names], unit)
        if curves:
            which = f"{stage}: one seed" if results.is_runbook else "ranking"
            few = ", the baseline, the front and the finalists" if results.config.search else ""
            picture = Picture(
                f"learning_curves_{stage}" if results.is_runbook else "learning_curves",
                f"learning curves on a fixed slice of dev, {which}{few}; crosses: ended early",
            )
            drawn.append((picture, draw_curves(curves, members[0].name, unit, appearance)))
    finals = finalist_curves(variants, unit)
    if finals:
        caption = "learning curves on a fixed slice of dev, finalists: mean and range over seeds"
        figure = draw_curves(finals, results.config.baseline_name, unit, appearance)
        drawn.append((Picture("learning_curves_finalists", caption), figure))
    return drawn


def _against_knobs(results: SweepResults, variants: list[VariantResult], appearance: dict[str, Look]) -> list[Drawn]:
    """A figure for each knob of each stage, with the stage's own runs."""
    unit = measure(results.config)
    factor = bits_per_byte_factor(results, unit.dev)
    drawn = []
    by_name = {variant.name: variant for variant in variants}
    for stage, members in results.stages.items():
        for knob, along in swept_knobs(members, results.plan):
            names = along if knob.values else _side_by_side(along, by_name, unit)
            shown = [with_finals_of_origin(by_name[name], variants) for name in names]
            axis = KnobAxis(knob, names, members[0].name)
            figure = KnobFigure(axis, shown, unit, appearance, factor).draw()
            if figure:
                killed = any(variant.ranking and variant.ranking.status == KILLED for variant in shown)
                crosses = "; crosses: runs killed, at their last score on a slice of it" if killed else ""
                where = f"stage {stage}: " if results.is_runbook else ""
                both = f"{unit.label} (left) and bits per byte (right) on all of dev"
                few = f", the baseline and the best of {len(along)}" if len(names) < len(along) else ""
                caption = f"{where}{both} against {knob.label}{few}{crosses}"
                name = f"ppl_vs_{knob.name}_{stage}" if results.is_runbook else f"ppl_vs_{knob.name}"
                drawn.append((Picture(name, caption), figure))
    return drawn


def _side_by_side(names: Sequence[str], variants: Mapping[str, VariantResult], unit: Measure) -> list[str]:
    """As many as have room beside each other: all, or the baseline, which is the first, and the best."""
    scores = {name: variants[name].ranking_score.get(unit.dev, math.inf) for name in names}
    named = named_few(names, lambda name: (name != names[0], scores[name]))
    return [name for name in names if name in named]


def _search(results: SweepResults, variants: list[VariantResult], appearance: dict[str, Look]) -> list[Drawn]:
    assert results.config.search is not None
    found, baseline = searched(variants), results.config.baseline_name
    if len(found) < 2:
        return []
    front_caption = (
        "the search: bits per byte on all of dev against latency; filled and named: the front, which nothing beats "
        "in both; hollow: dominated"
    )
    knobs_caption = "the search: bits per byte on all of dev against each searched knob, as its shape has it"
    return [
        (Picture("search_front", front_caption), draw_front(found, baseline)),
        (Picture("search_knobs", knobs_caption), draw_search_knobs(found, baseline, results.config.search)),
    ]


def _effects(results: SweepResults, appearance: dict[str, Look]) -> list[Drawn]:
    winner = results.decided("winner")
    comparisons = [Comparison(**item) for item in winner["comparisons"]] if winner else []
    if not comparisons:
        return []
    caption = "effect sizes with 95% intervals over seeds: right of zero is better than the baseline"
    figure = draw_effects(comparisons, results.config.baseline_name, results.config.finalists, appearance)
    return [(Picture("effects", caption), figure)]


def _pareto(variants: list[VariantResult], appearance: dict[str, Look]) -> list[Drawn]:
    length = max((v.latency_ms[0] for v in variants if v.latency_ms), key=int, default=None)
    figure = draw_pareto(candidates(variants), length, appearance)
    caption = (
        "bits per byte on all of dev (mean ± sd) against what it costs; a line joins those that nothing beats "
        "in both, where they are several"
    )
    return [(Picture("pareto", caption), figure)] if figure else []


def _rates(results: SweepResults, variants: list[VariantResult], appearance: dict[str, Look]) -> list[Drawn]:
    searches = rate_searches(results, variants)
    figure = draw_rates(searches, appearance)
    all_shown = len(with_panels(searches)) == len(searches)
    panels = "each variant" if all_shown else f"the baseline and the best of {len(searches)} variants"
    return [(Picture("loss_vs_learning_rate", _RATES_CAPTION.format(panels)), figure)] if figure else []


def _kills(results: SweepResults, appearance: dict[str, Look]) -> list[Drawn]:
    figure = draw_kills(killed_trials(results), appearance)
    caption = "what the kill rule saw: how far above the baseline each killed trial was, at equal tokens"
    return [(Picture("kills", caption, "kills"), figure)] if figure else []
