"""report.html while a sweep runs: written anew from its files about once a minute, with its learning curves.

Always holds: it reads result files and nothing else, so it can hold up or spoil nothing; between two pages it rests a
minute or more, and twenty times as long as the last one took; a page that cannot be made is left out, and the next
one tried; once the sweep has ended, however it ended, the page no longer loads itself again.

    with LivePage(folder):
        ...     # the sweep
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType

from paramalloc.files import atomic_write
from paramalloc.formats import listed
from paramalloc.report.figures.gallery import curve_figures
from paramalloc.report.figures.style import save_svg, style
from paramalloc.report.html import REFRESH_SECONDS, render_page
from paramalloc.report.load import UNFINISHED, SweepResults, load_results
from paramalloc.report.results_page import render_everything
from paramalloc.results import ResultsFolder

_RESTS_PER_PAGE = 20  # so that pages take at most 5 % of one core


class LivePage:
    """Keeps the page of a running sweep up to date, as a context manager around the sweep.

    Args:
        folder: of the sweep; sweep.yaml and plan.json are there.
        clock: seconds, to see how long a page takes.
        pause: waits so many seconds; True when it was told to stop meanwhile.
    """

    def __init__(
        self,
        folder: ResultsFolder,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], bool] | None = None,
    ) -> None:
        self.folder, self.clock = folder, clock
        self._stop = threading.Event()
        self._pause = pause or self._stop.wait
        self._thread = threading.Thread(target=self.run, name="live-page", daemon=True)

    def __enter__(self) -> LivePage:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if kind is not None:  # otherwise the whole report follows
            _try_to_write(self.folder, running=False)

    def run(self) -> None:
        """Write pages until told to stop."""
        rest = 1.0
        while not self._pause(rest):
            began = self.clock()
            _try_to_write(self.folder, running=True)
            rest = max(REFRESH_SECONDS, _RESTS_PER_PAGE * (self.clock() - began))


def write_live_page(folder: ResultsFolder, running: bool) -> None:
    """Write report.html from the files as they are. Errors: UserError, OSError as for a report."""
    results = load_results(folder)
    with style():
        drawn = [(picture, save_svg(figure)) for picture, figure in curve_figures(results)]
    text = render_everything(results, [picture for picture, _ in drawn])
    svgs = {picture.name: svg.decode() for picture, svg in drawn}
    atomic_write(folder.html, render_page(text, svgs, _standing(results) if running else None))


def _try_to_write(folder: ResultsFolder, running: bool) -> None:
    try:
        write_live_page(folder, running)
    except Exception:
        # A file in the making, a full disk, a figure that does not work out: the sweep goes on without a page,
        # and has its own word for what is wrong; its report at the end does not hold anything back.
        return


def _standing(results: SweepResults) -> str:
    """`Running. Ranking: 2 of 3 ended. …`, with the time of the newest entry in the diary."""
    parts = []
    for stage in dict.fromkeys(trial.stage for trial in results.trials):
        trials = [trial for trial in results.trials if trial.stage == stage]
        ended = sum(trial.status != UNFINISHED for trial in trials)
        parts.append(f"{stage}: {ended} of {len(trials)} begun have ended")
    as_of = f" as of {_utc(results.events[-1]['time'])}" if results.events else ""
    return f"Running{as_of}; {listed(parts) or 'no trial has begun'}. This page loads itself again every minute."


def _utc(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
