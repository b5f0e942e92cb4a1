"""`report RESULTS...`: rebuild the reports of results folders, also of those in S3; several are also compared."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from paramalloc.commands.fetch import fetch_results
from paramalloc.errors import UserError
from paramalloc.results import ComparisonFolder, ResultsFolder

HELP = "rebuild the report of a results folder from its files, and compare several"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    help_text = "a folder, or s3://BUCKET/PREFIX/SWEEP, which is fetched to results/SWEEP first"
    parser.add_argument("results", nargs="+", metavar="RESULTS", help=help_text)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where the comparison of several sweeps goes; default: comparison/ beside the first of them",
    )


def run(options: argparse.Namespace, console: Console) -> None:
    from paramalloc.report import build_report
    from paramalloc.report.compare import build_comparison, default_out

    folders = [
        ResultsFolder(fetch_results(name) if name.startswith("s3://") else Path(name)) for name in options.results
    ]
    if len({folder.root.resolve() for folder in folders}) < len(folders):
        raise UserError("RESULTS", "the same folder twice", "give each folder once")
    if options.out and len(folders) == 1:
        raise UserError("--out", f"'{options.out}' with one folder", "a report goes into its results folder")
    if options.out and ResultsFolder(options.out).sweep.exists():
        raise UserError("--out", f"'{options.out}', the results of a sweep", "give another folder")
    for folder in folders:
        build_report(folder)
        console.print(f"report: {folder.report}", markup=False, highlight=False, soft_wrap=True)
    if len(folders) > 1:
        out = ComparisonFolder(options.out or default_out(folders))
        build_comparison(folders, out)
        console.print(f"comparison: {out.page}", markup=False, highlight=False, soft_wrap=True)
