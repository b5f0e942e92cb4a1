"""`python -m cost report RESULTS_DIR` and `python -m cost prices --types g5.xlarge,p3.2xlarge`.

Always holds: it reads and never writes. A report is worked out afresh from the ledger; budget, fixed price and
tokens are taken from the COST_SUMMARY.json beside it (unknown without one). A mistake is one line on stderr and
exit code 2; 1 means that no spot price could be had.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from cost.errors import EXIT_USER_ERROR, CostError
from cost.ledger import read_rows
from cost.rates import TrialName
from cost.report import csv_report, print_report
from cost.summary import summarize

EXIT_NO_PRICE = 1
Connect = Callable[[str | None], tuple[Any, Any, str]]


def main(arguments: Sequence[str], now: float, connect: Connect | None = None) -> int:
    """Run one command. `connect` gives the EC2 and pricing clients and the region, for tests."""
    options = _parser().parse_args(arguments)
    try:
        return _prices(options, now, connect) if options.command == "prices" else _report(options, now)
    except CostError as error:
        sys.stderr.write(f"cost: {error}\n")
        return EXIT_USER_ERROR


def _report(options: argparse.Namespace, now: float) -> int:
    summary = report(options.results, now)
    if options.json:
        sys.stdout.write(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    elif options.csv:
        sys.stdout.write(csv_report(summary))
    else:
        print_report(summary, options.results.resolve().name, Console())
    return 0


def report(folder: Path, now: float) -> dict[str, Any]:
    """The summary of a results folder up to its last event. Errors: CostError for a missing or bad file."""
    if not folder.is_dir():
        raise CostError(str(folder), "no folder", "give the results folder of a sweep, such as results/smoke")
    rows = read_rows(folder / "events.jsonl")
    return summarize(rows, now=now, **_settings(folder / "COST_SUMMARY.json"))


def _settings(path: Path) -> dict[str, Any]:
    """What the sweep alone knows, as it last wrote it: arguments of `summarize`."""
    if not path.exists():
        return {"budget_usd": None, "fixed_usd_per_hour": None}
    try:
        last = json.loads(path.read_text(encoding="utf-8"))
        projection = last.get("projection")
        return {
            "budget_usd": _usd(last["budget_usd"]),
            "fixed_usd_per_hour": _usd(last["fixed_usd_per_hour"]),
            "tokens_by_trial": _tokens(last["by_trial"], "tokens"),
            "budget_tokens_by_trial": _tokens(last["by_trial"], "budget_tokens"),
            "remaining_tokens_by_trial": None if projection is None else _tokens(projection["by_trial"], "tokens"),
            "remaining_variants": _variants(projection["by_trial"] if projection else ()),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        advice = "run the sweep's command again, which rewrites it"
        raise CostError(str(path), f"no cost summary ({error!r})", advice) from None


def _tokens(lines: list[dict[str, Any]], field: str) -> dict[TrialName, int]:
    return {(line["stage"], line["trial"]): int(line[field]) for line in lines if line.get(field) is not None}


def _variants(lines: Iterable[dict[str, Any]]) -> dict[TrialName, str]:
    """Where they are known; a summary from before they were written down knows none."""
    return {(line["stage"], line["trial"]): line["variant"] for line in lines if line.get("variant")}


def _usd(value: Any) -> float | None:
    return None if value is None else float(value)


def _prices(options: argparse.Namespace, now: float, connect: Connect | None) -> int:
    """Ask AWS what the types cost now. botocore is imported here, so that a report needs none."""
    from cost import sources
    from cost.instances import measured_throughput, peak_throughput
    from cost.offers import find_offers, print_offers

    retry = sources.Retry(attempts=3, first_seconds=0.5)  # somebody is waiting
    types = list(dict.fromkeys(name.strip() for name in options.types.split(",") if name.strip()))
    if not types:
        raise CostError("--types", repr(options.types), "instance types, such as g5.xlarge,p3.2xlarge")
    throughput = measured_throughput(options.throughput) if options.throughput else peak_throughput()
    try:
        ec2, pricing, region = (connect or sources.connect)(options.region)
    except sources.PriceUnavailableError as error:
        raise CostError("AWS", str(error), "check AWS_PROFILE, AWS_DEFAULT_REGION and --region") from None
    spot, on_demand = sources.SpotHistory(ec2, retry), sources.OnDemandPrices(pricing, region, retry)
    found = find_offers(types, spot, on_demand, throughput, now)
    if options.json:
        sys.stdout.write(json.dumps({"region": region} | found.json(), indent=2, allow_nan=False) + "\n")
    else:
        print_offers(found, region, Console())
    return 0 if any(offer.spot_usd_per_hour is not None for offer in found.offers) else EXIT_NO_PRICE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m cost", description="What a sweep cost, and for what.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    command = commands.add_parser("report", help="print the bill of a results folder")
    command.add_argument("results", type=Path, metavar="RESULTS_DIR")
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print the whole summary as JSON")
    form.add_argument("--csv", action="store_true", help="print one row per trial and use")
    command = commands.add_parser("prices", help="print what EC2 instance types cost now, spot and on demand")
    command.add_argument("--types", required=True, help="instance types, with commas: g5.xlarge,p3.2xlarge")
    command.add_argument("--region", help="default: that of AWS's own settings, else us-east-1")
    command.add_argument(
        "--throughput", type=Path, metavar="JSON", help="tokens per second by type; default: the GPUs' peak"
    )
    command.add_argument("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], time.time()))
