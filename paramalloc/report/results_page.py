"""RESULTS.md: everything that REPORT.md has no room for, all tables and all figures.

Always holds: pure text from loaded results, a section for each question, left out where nothing is known; together
with REPORT.md's it is the text of report.html.
"""

from __future__ import annotations

from collections.abc import Sequence

from paramalloc.report.figures.pictures import Picture, galleries, gallery, of_section
from paramalloc.report.load import SweepResults
from paramalloc.report.markdown import joined, report_sections
from paramalloc.report.sections.budgets import budgets_section
from paramalloc.report.sections.cost import cost_section
from paramalloc.report.sections.decisions import decisions_section
from paramalloc.report.sections.kills import kills_section
from paramalloc.report.sections.preliminaries import data_section, sanity_section
from paramalloc.report.sections.profile import profile_section
from paramalloc.report.sections.reproduce import reproduce_section
from paramalloc.report.sections.scores import scores_section
from paramalloc.report.sections.search import search_section
from paramalloc.report.sections.setting import verdict
from paramalloc.report.sections.smallbench import smallbench_section
from paramalloc.report.sections.table import variants_table
from paramalloc.report.variants import measure, variant_results


def render_results(results: SweepResults, pictures: Sequence[Picture]) -> str:
    """The whole page. `pictures` are those that lie in figures/."""
    variants = variant_results(results)
    return joined(
        [
            f"# {results.config.name}: all results",
            verdict(results, variants),
            "The page to begin with is [REPORT.md](REPORT.md); one row for each run is in "
            "[results_summary.csv](results_summary.csv).",
            "## Variants",
            variants_table(results, variants),
            *results_sections(results, pictures),
        ]
    )


def render_everything(results: SweepResults, pictures: Sequence[Picture]) -> str:
    """Both pages in one, for report.html; a figure that the first part has shown is not shown again."""
    first = report_sections(results, pictures)
    shown = {picture for picture in pictures if any(f"figures/{picture.name}.png" in block for block in first)}
    others = [picture for picture in pictures if picture not in shown]
    return joined([f"# {results.config.name}: sweep report", *first, *results_sections(results, others)])


def results_sections(results: SweepResults, pictures: Sequence[Picture]) -> list[str]:
    """The blocks below the main table; empty ones are to be left out."""
    variants = variant_results(results)
    figures = galleries(of_section(pictures, "results"))
    return [
        *search_section(results, variants),
        "## Figures" if figures else "",
        figures,
        *scores_section(variants, one_tokenizer=measure(results.config).dev == "dev_ppl"),
        *decisions_section(results, variants),
        *kills_section(results, gallery(of_section(pictures, "kills"))),
        *budgets_section(results, variants),
        *profile_section(variants),
        *smallbench_section(variants),
        *sanity_section(results, gallery(of_section(pictures, "sanity"))),
        *data_section(results.manifest, gallery(of_section(pictures, "data"))),
        *cost_section(results, galleries(of_section(pictures, "cost"))),
        *reproduce_section(results),
    ]
