"""`python -m cost report RESULTS_DIR [--json]`: what a sweep cost, worked out afresh from its ledger.

Always holds: it reads and never writes; budget, fixed price and tokens are taken from the COST_SUMMARY.json
beside the ledger (unknown without one). A mistake is one line on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from cost.errors import EXIT_USER_ERROR, CostError
from cost.ledger import read_rows
from cost.report import print_report
from cost.summary import TrialName, summarize


def main(arguments: Sequence[str], now: float) -> int:
    options = _parser().parse_args(arguments)
    folder: Path = options.results
    try:
        summary = report(folder, now)
    except CostError as error:
        sys.stderr.write(f"cost: {error}\n")
        return EXIT_USER_ERROR
    if options.json:
        sys.stdout.write(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    else:
        print_report(summary, folder.resolve().name, Console())
    return 0


def report(folder: Path, now: float) -> dict[str, Any]:
    """The summary of a results folder up to its last event. Errors: CostError for a missing or bad file."""
    if not folder.is_dir():
        raise CostError(str(folder), "no folder", "give the results folder of a sweep, such as results/smoke")
    rows = read_rows(folder / "events.jsonl")
    budget_usd, fixed_usd_per_hour, tokens = _settings(folder / "COST_SUMMARY.json")
    return summarize(
        rows, budget_usd=budget_usd, now=now, fixed_usd_per_hour=fixed_usd_per_hour, tokens_by_trial=tokens
    )


def _settings(path: Path) -> tuple[float | None, float | None, dict[TrialName, int]]:
    """Budget, fixed price and tokens by trial, as the sweep last wrote them."""
    if not path.exists():
        return None, None, {}
    try:
        last = json.loads(path.read_text(encoding="utf-8"))
        tokens = {(line["stage"], line["trial"]): line["tokens"] for line in last["by_trial"]}
        known = {trial: int(count) for trial, count in tokens.items() if count is not None}
        return _usd(last["budget_usd"]), _usd(last["fixed_usd_per_hour"]), known
    except (OSError, ValueError, KeyError, TypeError) as error:
        advice = "run the sweep's command again, which rewrites it"
        raise CostError(str(path), f"no cost summary ({error!r})", advice) from None


def _usd(value: Any) -> float | None:
    return None if value is None else float(value)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cost", description="What a sweep cost, and for what.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("report", help="print the bill of a results folder")
    command.add_argument("results", type=Path, metavar="RESULTS_DIR")
    command.add_argument("--json", action="store_true", help="print the whole summary as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], time.time()))
