"""The report of a sweep: CSV, figures, pages, model card and bundle, made from its result files alone.

Always holds: it never sees a live object and never asks the time, so the same files give the same bytes; a sweep
that is not finished has a report too, which says what is missing. `python -m paramalloc report results/smoke`.
"""

from __future__ import annotations

import os

from paramalloc.files import atomic_write
from paramalloc.redaction import secret_values
from paramalloc.report.bundle import make_bundle
from paramalloc.report.figures.gallery import draw_figures
from paramalloc.report.html import render_page
from paramalloc.report.load import load_results
from paramalloc.report.markdown import render_report
from paramalloc.report.model_card import winner_card
from paramalloc.report.results_page import render_everything, render_results
from paramalloc.report.summary import summary_csv
from paramalloc.results import ResultsFolder

__all__ = ["build_report"]


def build_report(folder: ResultsFolder) -> None:
    """Write results_summary.csv, figures/, the pages for reading, and bundle.zip from the other files in `folder`.

    Errors: UserError when `folder` holds no sweep's results or a file in it cannot be understood.
    """
    results = load_results(folder)
    atomic_write(folder.summary_csv, summary_csv(results))
    pictures = draw_figures(results, folder)
    svgs = {p.name: (folder.figures / f"{p.name}.svg").read_text(encoding="utf-8") for p in pictures}
    atomic_write(folder.results_page, render_results(results, pictures))
    atomic_write(folder.html, render_page(render_everything(results, pictures), svgs))
    card = winner_card(results)
    if card:
        atomic_write(folder.model_card, card)
    atomic_write(folder.report, render_report(results, pictures))
    atomic_write(folder.bundle, make_bundle(results, folder, secret_values(os.environ)))
