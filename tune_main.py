"""Run a sweep, or carry it on: `python tune_main.py sweeps/smoke.yaml` (`--plan` to look first).

Exit codes: 0 done, 1 a trial failed, 2 a mistake in what was asked, 3 stopped at the budget, 130 stopped by Ctrl-C
(after both the same command carries on, after 3 with a higher `cost.budget_usd`).
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from rich.console import Console

from paramalloc.config import SweepConfig
from paramalloc.errors import EXIT_USER_ERROR, UserError
from paramalloc.results import ResultsFolder
from paramalloc.sweep_file import load_sweep

EXIT_INTERRUPTED = 130


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Find how a small language model's parameters are best spent.")
    parser.add_argument("sweep", type=Path, help="sweep file, e.g. sweeps/smoke.yaml")
    parser.add_argument("--plan", action="store_true", help="print shapes, tokens, time, cost and warnings, and end")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override a value of the file")
    parser.add_argument("--results", type=Path, metavar="DIR", help="default: results/<name of the sweep>")
    parser.add_argument("--storage", metavar="s3://BUCKET/PREFIX", help="keep the results there too")
    parser.add_argument(
        "--down-when-done", action="store_true", help="then end the whole cluster; asks for --storage"
    )
    parser.add_argument("--fresh", action="store_true", help="set existing results aside and begin anew")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what Ray and the workers log")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    console = Console()
    try:
        config = load_sweep(options.sweep, options.set)
        if options.plan:
            _show_plan(config, options, console)
            return 0
        return _run(config, options, console)
    except KeyboardInterrupt:
        console.print("\nstopped; the same command carries on", highlight=False)
        return EXIT_INTERRUPTED
    except (UserError, OSError) as error:  # OSError: a full disk, a folder that may not be written
        sys.stderr.write(f"paramalloc: {error}\n")
        return EXIT_USER_ERROR


def _show_plan(config: SweepConfig, options: argparse.Namespace, console: Console) -> None:
    from paramalloc.data.corpus import open_corpus
    from paramalloc.forecast import make_forecast
    from paramalloc.forecast_text import print_forecast
    from paramalloc.plan import make_plan, measure_corpus
    from paramalloc.plan_table import print_plan
    from paramalloc.sweep.changes import changes_since, require_same_text
    from paramalloc.sweep.runbook.plan_so_far import plan_so_far

    own = _results(config, options)
    plan = make_plan(config) if options.fresh else plan_so_far(config, ResultsFolder(own))
    print_plan(plan, measure_corpus(plan), console)
    print_forecast(make_forecast(plan, own), config.cost, console)
    if not options.fresh:  # what a run would refuse is told after the plan
        require_same_text(config, ResultsFolder(own), open_corpus(config.data).fingerprint())
        changes_since(ResultsFolder(own), config)


def _results(config: SweepConfig, options: argparse.Namespace) -> Path:
    return options.results or Path("results") / config.name


def _run(config: SweepConfig, options: argparse.Namespace, console: Console) -> int:
    from paramalloc.storage.objects import require_storage
    from paramalloc.sweep.driver import require_runnable, run_sweep
    from paramalloc.sweep.machines.cluster_end import end_cluster, require_own_cluster
    from paramalloc.sweep.stopped import SweepStoppedError
    from paramalloc.sweep.workplace import workplace

    corpus = require_runnable(config)
    cluster = require_own_cluster(options.storage) if options.down_when_done else None
    root = _results(config, options)
    if options.storage:
        require_storage(options.storage)
    storage = f"{options.storage.rstrip('/')}/{root.name}" if options.storage else None
    folder = ResultsFolder(root, storage)
    try:
        with workplace(folder, options.fresh, console):
            exit_code = run_sweep(config, folder, console, options.verbose, corpus)
    except SweepStoppedError as error:
        notes = getattr(error, "__notes__", [])  # results that could not be stored
        sys.stderr.write("\n".join([f"paramalloc: {error}", *notes]) + "\n")
        exit_code, cluster = error.exit_code, None if notes else cluster
    if cluster:
        end_cluster(cluster, console.print)
    return exit_code


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # told to go, it ends as after Ctrl-C
    sys.exit(main())
