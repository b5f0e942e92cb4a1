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

    _require_sense(options.results, options.out)
    folders = [ResultsFolder(fetch_results(name) if _is_stored(name) else Path(name)) for name in options.results]
    for folder in folders:
        build_report(folder)
        console.print(f"report: {folder.report}", markup=False, highlight=False, soft_wrap=True)
    if len(folders) > 1:
        out = ComparisonFolder(options.out or default_out(folders))
        build_comparison(folders, out)
        console.print(f"comparison: {out.page}", markup=False, highlight=False, soft_wrap=True)


def _require_sense(names: list[str], out: Path | None) -> None:
    """Errors: UserError before anything is fetched or written."""
    places = {name if _is_stored(name) else str(Path(name).resolve()) for name in names}
    if len(places) < len(names):
        raise UserError("RESULTS", "the same folder twice", "give each folder once")
    if out and len(names) == 1:
        raise UserError("--out", f"'{out}' with one folder", "a report goes into its results folder")
    if out and ResultsFolder(out).sweep.exists():
        raise UserError("--out", f"'{out}', the results of a sweep", "give another folder")


def _is_stored(name: str) -> bool:
    return name.startswith("s3://")
