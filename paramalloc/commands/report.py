"""`report RESULTS_DIR`: rebuild CSV, figures and REPORT.md from the other files of a results folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from paramalloc.results import ResultsFolder

HELP = "rebuild the report of a results folder from its files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, metavar="RESULTS_DIR")


def run(options: argparse.Namespace, console: Console) -> None:
    from paramalloc.report import build_report

    folder = ResultsFolder(options.results)
    build_report(folder)
    console.print(f"report: {folder.report}", highlight=False, soft_wrap=True)
