"""The report of a sweep: CSV, figures and REPORT.md, made from its result files alone.

Always holds: it never sees a live object and never asks the time, so the same files give the same bytes; a sweep
that is not finished has a report too, which says what is missing. `python -m paramalloc report results/smoke`.
"""

from __future__ import annotations

from paramalloc.files import atomic_write
from paramalloc.report.figures import draw_figures
from paramalloc.report.load import load_results
from paramalloc.report.markdown import render_report
from paramalloc.report.summary import summary_csv
from paramalloc.results import ResultsFolder

__all__ = ["build_report"]


def build_report(folder: ResultsFolder) -> None:
    """Write results_summary.csv, figures/ and REPORT.md from the other files in `folder`.

    Errors: UserError when `folder` holds no sweep's results or a file in it cannot be understood.
    """
    results = load_results(folder)
    atomic_write(folder.summary_csv, summary_csv(results))
    figures = draw_figures(results, folder)
    atomic_write(folder.report, render_report(results, figures))
