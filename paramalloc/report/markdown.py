"""REPORT.md: one page with the verdict first, then setup, best setting, table, two charts, cost, discussion, limits.

Always holds: pure text from loaded results; each figure stands with its budget and seeds; scores on all of dev and
on the slice that is looked at on the way are kept apart in words; everything else is in RESULTS.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from paramalloc.report.blocks import bullets
from paramalloc.report.figures.pictures import Picture, gallery, of_section
from paramalloc.report.load import SweepResults
from paramalloc.report.search import shown_in_short
from paramalloc.report.sections.cost import cost_in_short
from paramalloc.report.sections.discussion import discussion
from paramalloc.report.sections.findings import limits
from paramalloc.report.sections.setting import best_setting, setup, verdict
from paramalloc.report.sections.table import variants_table
from paramalloc.report.variants import variant_results

_MORE = (
    "Everything else, with all tables and figures, is in [RESULTS.md](RESULTS.md) and, as one page for a browser, in "
    "[report.html](report.html)."
)
_CHARTS = 2


def render_report(results: SweepResults, pictures: Sequence[Picture]) -> str:
    """The whole page. `pictures` are those that lie in figures/, the most important first."""
    return joined([f"# {results.config.name}: sweep report", *report_sections(results, pictures), _MORE])


def report_sections(results: SweepResults, pictures: Sequence[Picture]) -> list[str]:
    """The blocks below the title; empty ones are to be left out."""
    variants = variant_results(results)
    charts = gallery(of_section(pictures, "results")[:_CHARTS])
    return [
        verdict(results, variants),
        "## Setup",
        setup(results, variants),
        *best_setting(results, variants),
        "## Results",
        variants_table(results, shown_in_short(results, variants)),
        charts or "No run has been evaluated yet, so there is nothing to draw.",
        *cost_in_short(results),
        *discussion(results, variants),
        "## Limits, and what was not tuned",
        bullets(limits(results, variants)),
    ]


def joined(sections: Sequence[str]) -> str:
    return "\n\n".join(section for section in sections if section) + "\n"
