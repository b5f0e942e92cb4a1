"""`report RESULTS`: rebuild CSV, figures and REPORT.md from the other files of a results folder, or of one in S3."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from paramalloc.commands.fetch import fetch_results
from paramalloc.results import ResultsFolder

HELP = "rebuild the report of a results folder from its files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    help_text = "a folder, or s3://BUCKET/PREFIX/SWEEP, which is fetched to results/SWEEP first"
    parser.add_argument("results", metavar="RESULTS", help=help_text)


def run(options: argparse.Namespace, console: Console) -> None:
    from paramalloc.report import build_report

    stored = options.results.startswith("s3://")
    folder = ResultsFolder(fetch_results(options.results) if stored else Path(options.results))
    build_report(folder)
    console.print(f"report: {folder.report}", highlight=False, soft_wrap=True)
