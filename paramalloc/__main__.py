"""`python -m paramalloc COMMAND`: what is done with results once there are some.

`report RESULTS_DIR` rebuilds CSV, figures and REPORT.md from the other files of a results folder, finished or not.
A mistake is one line on stderr and exit code 2. Each command imports what it needs when it is called.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from paramalloc.errors import EXIT_USER_ERROR, UserError
from paramalloc.results import ResultsFolder


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except UserError as error:
        sys.stderr.write(f"paramalloc: {error}\n")
        return EXIT_USER_ERROR
    return 0


def _report(options: argparse.Namespace) -> None:
    from paramalloc.report import build_report

    folder = ResultsFolder(options.results)
    build_report(folder)
    sys.stdout.write(f"report: {folder.report}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m paramalloc", description="Work with the results of sweeps.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    report = commands.add_parser("report", help="rebuild the report of a results folder from its files")
    report.add_argument("results", type=Path, metavar="RESULTS_DIR")
    report.set_defaults(run=_report)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
