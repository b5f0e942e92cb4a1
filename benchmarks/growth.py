"""What the driver costs as a sweep grows: sweeps of doubling size through the real driver code, on a virtual clock.

Two series: trivial trials on one machine, two at a time; and trials on spot machines that come and go as recorded,
twenty trials to a machine. Figures are processor seconds of the driver, its memory, and the size of its files; the
last row of a table is the exponent of each figure's growth with the number of trials: 1 is linear, 0 is constant.
Always holds: each size is played by a process of its own; the world waits for a driver that is busy.

    python -m benchmarks.growth --quick --json
"""

from __future__ import annotations

import math
import multiprocessing
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.common import argument_parser, machine, pin_threads, print_figures, print_table
from benchmarks.played_sweep import Scene, play
from benchmarks.spot_traces import load_trace

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
TRIALS_PER_MACHINE = 20
TABLE_WIDTH = 132  # characters; a narrower table would cut its figures


@dataclass(frozen=True)
class Series:
    """Sweeps that differ in their size only."""

    name: str
    title: str
    scenes: Sequence[Scene]


FIGURES = {  # of one sweep, with the heading of their column
    "ms_per_report": "ms a report",
    "ms_per_end": "ms an end",
    "ms_per_tick": "ms a tick",
    "seconds_per_bill": "s a bill",
    "seconds_per_page": "s a page",
    "seconds_of_report": "s REPORT.md",
    "seconds_to_carry_on": "s to resume",
    "driver_seconds": "s in all",
    "memory_mb": "MB memory",
    "files_mb": "MB files",
}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="a folder with recorded spot traces below spot/")
    options = parser.parse_args(arguments)
    pin_threads(1)
    console, trace = Console(width=max(TABLE_WIDTH, Console().width)), load_trace(options.data)
    about = machine(1)
    where = f"{about['processor']}, {about['date']}, load {about['load_1min']}"
    console.print(f"{where}; {trace.said_by}", highlight=False, soft_wrap=True)
    found: dict[str, Any] = {"trace": trace.said_by}
    with tempfile.TemporaryDirectory(prefix="paramalloc-growth-") as scratch:
        for series in all_series(options.quick):
            results = [_in_own_process(scene, options.data, Path(scratch)) for scene in series.scenes]
            exponents = {name: exponent(results, name) for name in FIGURES}
            _print(console, series, results, exponents)
            found[series.name] = {"sizes": results, "exponents": exponents}
    print_figures("growth", found, options)
    return 0


def all_series(quick: bool) -> list[Series]:
    alone = (50, 100, 200) if quick else (250, 500, 1_000, 2_000)
    spread = (50, 100, 200) if quick else (625, 1_250, 2_500, 5_000, 10_000)
    return [
        Series(
            "one_machine",
            "Trivial trials on one machine, two at a time",
            [Scene(trials, machines=1, slots=2, trial_seconds=1.0) for trials in alone],
        ),
        Series(
            "spot_machines",
            f"Trials on spot machines, {TRIALS_PER_MACHINE} to a machine",
            [Scene(trials, machines=trials // TRIALS_PER_MACHINE) for trials in spread],
        ),
    ]


def exponent(results: Sequence[dict[str, Any]], figure: str) -> float | None:
    """The slope of a straight line through the logarithms, by least squares; None where a figure is missing."""
    points = [(math.log(one["trials"]), math.log(one[figure])) for one in results if one[figure]]
    if len(points) < 2 or len(points) < len(results):
        return None
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    return round(slope, 2)


def _in_own_process(scene: Scene, data: Path, scratch: Path) -> dict[str, Any]:
    """So that its memory is its own."""
    folder = scratch / f"{scene.machines}-{scene.trials}"
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(play, scene, data, folder, scratch / "cache").result()


def _print(
    console: Console, series: Series, results: Sequence[dict[str, Any]], exponents: dict[str, float | None]
) -> None:
    about = ("machines", "lost_machines")
    rows = [[f"{one['trials']:,}", *(one[name] for name in (*about, *FIGURES))] for one in results]
    last = ["exponent", None, None, *exponents.values()]
    print_table(console, series.title, ["trials", "machines", "lost", *FIGURES.values()], [*rows, last])


if __name__ == "__main__":
    sys.exit(main())
