"""What a sweep costs beside its training: its wall time x slots against the bare training of the same trials.

    python -m benchmarks.sweep_overhead                                # sweeps/smoke.yaml, and trials of no length
    python -m benchmarks.sweep_overhead --times 3                      # trials of a minute or more
    python -m benchmarks.sweep_overhead --sweep sweeps/embed.yaml      # another sweep, on this machine's cores

Always holds: the sweep is the command that a user gives, from its start to its exit, report and all; its peers train
the same trials to the same tokens with the same code, one thread each and as many at a time: plain processes
(`benchmarks.bare`), and Ray Tune used plainly, a function trainable without reuse of workers. The text is in the
cache before the first of them starts.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from benchmarks.bare import BareJob, jobs_of, load_data, train_bare
from benchmarks.common import argument_parser, available_cores, pin_threads, print_figures, print_table
from benchmarks.plain_tune import train_with_plain_tune
from benchmarks.timeline import Span, time_line
from paramalloc.config import SweepConfig
from paramalloc.errors import EXIT_USER_ERROR, UserError
from paramalloc.files import read_jsonl
from paramalloc.plan import make_plan
from paramalloc.results import ResultsFolder
from paramalloc.sweep_file import load_sweep

TUNE_MAIN = Path(__file__).parents[1] / "tune_main.py"
SMOKE = Path("sweeps/smoke.yaml")
FEW, MANY = 4, 124  # trials of no length; what one more costs must not be lost in what each sweep varies by
TRIVIAL: dict[str, Any] = {
    "name": "trivial",
    "data": {"corpus": "synthetic", "synthetic_bytes": 200_000},
    "model": {"total_params": 100_000, "vocab_size": 600, "context_length": 32},
    "training": {"tokens": 2_000, "batch_size": 4},
    "ranking": {"tokens": 2_000, "eval_interval_tokens": 2_000, "stop": "none"},
    "finalists": {"count": 1, "seeds": [0], "eval_interval_tokens": 2_000},
    "evaluation": {"latency_runs": 0},
    "sanity": {"enabled": False},
}


@dataclass(frozen=True)
class Timed:
    """One sweep and its peers. `tune_seconds`: None where Ray Tune was not tried."""

    jobs: Sequence[BareJob]
    sweep_seconds: float
    bare_seconds: float
    tune_seconds: float | None
    spans: list[Span]

    @property
    def overhead_ratio(self) -> float:
        return self.sweep_seconds / self.bare_seconds


def main(arguments: list[str] | None = None) -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("--sweep", type=Path, default=SMOKE, help="default: %(default)s")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override a value of the file")
    parser.add_argument("--times", type=int, default=1, metavar="N", help="train so many times as many tokens")
    parser.add_argument("--no-tune", action="store_true", help="leave plain Ray Tune out")
    options = parser.parse_args(arguments)
    if options.threads != available_cores():
        parser.error(
            f"--threads {options.threads}: a sweep has a slot on each of this machine's {available_cores()} cores"
        )
    pin_threads(1)  # a trial has one core
    try:
        with tempfile.TemporaryDirectory(prefix="paramalloc-") as scratch:
            found = measure(options, Path(scratch))
    except (UserError, OSError, RuntimeError) as error:
        sys.stderr.write(f"benchmarks.sweep_overhead: {error}\n")
        return EXIT_USER_ERROR
    print_figures("sweep_overhead", found, options)
    return 0


def measure(options: Any, scratch: Path) -> dict[str, Any]:
    """Everything that is asked for; prints the tables. Errors: UserError for a sweep that cannot be run or fails."""
    console, slots = Console(), options.threads
    if options.quick:
        timed = time_sweep(_trivial(scratch, FEW), [], scratch / "quick", slots, plain_tune=False)
    else:
        overrides = options.set + longer(load_sweep(options.sweep, options.set), options.times)
        timed = time_sweep(options.sweep, overrides, scratch / "sweep", slots, not options.no_tune)
    _print_peers(console, timed, slots)
    _print_spans(console, timed)
    figures: dict[str, Any] = {
        "trials": len(timed.jobs),
        "slots": slots,
        "sweep_seconds": timed.sweep_seconds,
        "bare_seconds": timed.bare_seconds,
        "plain_tune_seconds": timed.tune_seconds,
        "overhead_ratio": timed.overhead_ratio,
        "spans": {span.name: span.seconds for span in timed.spans},
        "seconds_per_extra_trial": None,
    }
    if not options.quick:
        few, many = (time_sweep(_trivial(scratch, n), [], scratch / f"n{n}", slots, False) for n in (FEW, MANY))
        figures["seconds_per_extra_trial"] = extra_trial_seconds(few, many, slots)
        row = [f"{FEW} to {MANY} trials", figures["seconds_per_extra_trial"]]
        print_table(console, "One more trial of no length", ("sweep", "slot seconds beside its training"), [row])
    return figures


def longer(config: SweepConfig, times: int) -> list[str]:
    """Overrides that stretch a sweep: its budgets, its evaluations and the kill rule's window, all alike."""
    if times == 1:
        return []
    ranking, final = config.ranking, config.finalists
    lengths = {
        "training.tokens": config.training.tokens,
        "ranking.tokens": ranking.tokens,
        "ranking.eval_interval_tokens": ranking.eval_interval_tokens,
        "ranking.kill_rule.window_tokens": ranking.kill_rule.window_tokens,
        "finalists.eval_interval_tokens": final.eval_interval_tokens,
    }
    return [f"{place}={times * tokens}" for place, tokens in lengths.items()]


def time_sweep(sweep: Path, overrides: list[str], root: Path, slots: int, plain_tune: bool) -> Timed:
    """Run a sweep file as its user would, then its peers. Errors: UserError when a run of it fails."""
    config = load_sweep(sweep, overrides)
    load_data(make_plan(config))  # into the cache
    command = [sys.executable, str(TUNE_MAIN), str(sweep), "--results", str(root)]
    command += [part for override in overrides for part in ("--set", override)]
    began = time.time()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    ended = time.time()
    if done.returncode:
        raise UserError(str(sweep), f"exit code {done.returncode}", f"a sweep that ends well:\n{done.stdout[-2000:]}")
    folder = ResultsFolder(root)
    jobs = jobs_of(folder)
    data = load_data(make_plan(load_sweep(folder.sweep)))
    _, bare = train_bare(jobs, data, config.evaluation, slots)
    tune = train_with_plain_tune(jobs, data, config.evaluation, slots) if plain_tune else None
    spans = time_line(read_jsonl(folder.events), began, ended, slots)
    return Timed(jobs, ended - began, bare, tune, spans)


def extra_trial_seconds(few: Timed, many: Timed, slots: int) -> float:
    """What one more trial takes of a slot beside its training: by how much the sweep grows more than its training."""
    more = len(many.jobs) - len(few.jobs)
    grown = (many.sweep_seconds - few.sweep_seconds) - (many.bare_seconds - few.bare_seconds)
    return grown * slots / more


def _trivial(scratch: Path, trials: int) -> Path:
    """A sweep file whose ranking has so many trials of sixteen steps each."""
    experiments = [{"name": f"e{number}", "learning_rate": 1e-3 + number * 1e-6} for number in range(trials)]
    path = scratch / f"trivial{trials}.yaml"
    path.write_text(yaml.safe_dump(TRIVIAL | {"experiments": experiments}))
    return path


def _print_peers(console: Console, timed: Timed, slots: int) -> None:
    bare = timed.bare_seconds
    rows = [
        [name, seconds, seconds * slots / len(timed.jobs), seconds / bare]
        for name, seconds in (
            ("the sweep, report and all", timed.sweep_seconds),
            ("bare training", bare),
            ("Ray Tune used plainly", timed.tune_seconds),
        )
        if seconds is not None
    ]
    title = f"{len(timed.jobs)} trials on {slots} slots"
    print_table(console, title, ("how", "wall s", "slot s per trial", "ratio"), rows)


def _print_spans(console: Console, timed: Timed) -> None:
    rows = [[span.name, span.seconds, f"{span.seconds / timed.sweep_seconds:.0%}"] for span in timed.spans]
    print_table(console, "Where the sweep's time went", ("span", "wall s", "share"), rows)


if __name__ == "__main__":
    sys.exit(main())
