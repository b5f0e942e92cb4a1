"""What every benchmark shares: its options, rounds in turns and their medians, the table, the last line of JSON.

Always holds: no import of torch before `pin_threads` has been obeyed; JSON is strict (None for what is not known);
what a benchmark prints says which machine it ran on, and how busy that was otherwise.

    options = argument_parser(__doc__).parse_args(arguments)
    pin_threads(options.threads)
    samples = in_turns({"ours": run_ours, "plain": run_plain}, rounds=5)
    print_table(console, "Title", ("loop", "seconds"), rows)
    print_figures("evaluation", {"ratio_vs_best_peer": 1.4}, options)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
_PACKAGES = ("torch", "ray", "transformers", "litgpt", "numpy")
_GEMM_SIDE = 2048
_GEMM_ROUNDS, _QUICK_GEMM_ROUNDS = 15, 5


def argument_parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benchmarks know; the first paragraph of `description` is shown by `--help`."""
    about = (description or "").strip().split("\n\n")[0]
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="end within a minute: smaller or fewer, and noisier")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    parser.add_argument("--threads", type=_positive, default=available_cores(), help="default: every core")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def available_cores() -> int:
    """Cores that this process may use, which a container can make fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pin_threads(threads: int) -> None:
    """Let this process and its children compute with `threads` threads. To be called before torch is imported."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))


def in_turns(measures: Mapping[str, Callable[[], float]], rounds: int, warmups: int = 1) -> dict[str, list[float]]:
    """Call every measure once per round, in an order that turns by one each round; the first `warmups` do not count.

    So whatever else the machine does falls on all of them alike.
    """
    names = list(measures)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warmups + rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            value = measures[name]()
            if number >= warmups:
                samples[name].append(value)
    return samples


def seconds_of(job: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    begun = clock()
    job()
    return clock() - begun


def medians(samples: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: median(values) for name, values in samples.items()}


def spread(values: Sequence[float]) -> float:
    """Half the distance between the quartiles, as a share of the median: how much rounds differ."""
    ordered, last = sorted(values), len(values) - 1
    return (ordered[round(0.75 * last)] - ordered[round(0.25 * last)]) / 2 / median(ordered)


def ratio_vs_best_peer(ours: float, peers: Iterable[float], higher_is_better: bool = True) -> float | None:
    """How many times as good `ours` is as the best of `peers`; above 1 is better, whichever way. None: no peer."""
    values = list(peers)
    if not values:
        return None
    return ours / max(values) if higher_is_better else min(values) / ours


def machine(threads: int | None = None) -> dict[str, Any]:
    """Where and with what a measurement was made: processor, cores, load of the last minute, versions, date."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "threads": threads,
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "date": datetime.now(UTC).date().isoformat(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def gemm_peak_flops(precision: str, quick: bool = False, clock: Callable[[], float] = time.perf_counter) -> float:
    """The most FLOP/s that square matrix products reach in this process: the denominator of "share of peak".

    The best round counts, since a busy machine only ever makes it slower. `precision`: fp32 or bf16.
    """
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    a, b = (torch.randn(_GEMM_SIDE, _GEMM_SIDE).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    rounds = _QUICK_GEMM_ROUNDS if quick else _GEMM_ROUNDS
    torch.mm(a, b, out=out)
    return 2 * _GEMM_SIDE**3 / min(seconds_of(lambda: torch.mm(a, b, out=out), clock) for _ in range(rounds))


def print_table(
    console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], note: str = ""
) -> None:
    """The first column is text, the others are numbers; None is shown as a dash."""
    table = Table(title=title, title_justify="left", caption=note or None, caption_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=not place)
    for row in rows:
        table.add_row(*(shown(value) for value in row))
    console.print(table)


def shown(value: Any) -> str:
    """A number with about three significant digits, thousands set apart; text as it is; None as a dash."""
    if value is None:
        return "–"  # noqa: RUF001 -- a dash
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def print_figures(benchmark: str, figures: Mapping[str, Any], options: argparse.Namespace) -> None:
    """With `--json`, one last line: the figures, with benchmark, machine and whether it was a quick run."""
    if options.json:
        about = {"benchmark": benchmark, "quick": options.quick, "machine": machine(options.threads)}
        print(json.dumps(about | dict(figures), allow_nan=False), flush=True)
