"""What a person sees while a sweep runs: one calm live table on a terminal, plain lines elsewhere.

Always holds: the display reads the recorder's state and changes nothing; an event is one line; without a terminal
a progress line comes at most every `PLAIN_INTERVAL_SECONDS`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, Group, JustifyMethod
from rich.live import Live
from rich.table import Table
from rich.text import Text

from paramalloc.results import DIVERGED, FAILED, FINISHED, JUDGED_BY, KILLED
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.trials.state import RUNNING, WAITING, TrialState

PLAIN_INTERVAL_SECONDS = 15.0
MAX_ROWS = 50
BUSY_INTERVAL_SECONDS = 0.25  # between two tables of a stage with more trials: reports come faster than anybody reads
_COLOURS = {RUNNING: "cyan", FINISHED: "green", KILLED: "yellow", DIVERGED: "red", FAILED: "red"}


class Display:
    """Shows one stage at a time; use it as a context manager around the whole sweep."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.clock = console, clock
        self._stage: StageRecorder | None = None
        self._ahead: StageRecorder | None = None
        self._live: Live | None = None
        self._last_plain, self._last_live = clock(), float("-inf")

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_table()

    def say(self, text: str) -> None:
        """One line, above the table where there is one."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def show(self, stage: StageRecorder, ahead: StageRecorder | None = None) -> None:
        """Begin to show a stage, and what runs of a later one beside it."""
        self._stage, self._ahead = stage, ahead
        if self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False)
            self._live.start()
        self.refresh()

    def refresh(self) -> None:
        if self._stage is None:
            return
        if self._live:
            busy = len(self._stage.trials) > MAX_ROWS
            if not busy or self.clock() - self._last_live >= BUSY_INTERVAL_SECONDS:
                self._show_table(self._stage, self._live)
        elif self.clock() - self._last_plain >= PLAIN_INTERVAL_SECONDS:
            self._last_plain = self.clock()
            self.say(plain_line(self._stage, self._ahead))

    def end_stage(self) -> None:
        """Leave the finished table of a stage on the screen and go on below it."""
        if self._stage and self._live:
            self._show_table(self._stage, self._live)
        elif self._stage:
            self.console.print(stage_table(self._stage))
        self._stop_table()
        self._stage = None
        self.console.print()

    def _show_table(self, stage: StageRecorder, live: Live) -> None:
        live.update(Group(Text(), stage_table(stage, self._ahead)), refresh=True)
        self._last_live = self.clock()

    def _stop_table(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None


def stage_table(stage: StageRecorder, ahead: StageRecorder | None = None) -> Table:
    """One row per trial: how far it is, how good, how far from the baseline, how fast, and when it will be done.

    Of more than `MAX_ROWS` the baseline's are shown, then those that run. Below stand those that run `ahead`.
    """
    shown = _worth_a_row(stage)
    left_out = len(stage.trials) - len(shown)
    table = Table(
        box=None,
        pad_edge=False,
        header_style="bold",
        title=_remaining(stage),
        title_justify="left",
        title_style="bold",
        caption="* baseline; PPL on a fixed slice of dev" + (f"; {left_out:,} more trials" if left_out else ""),
        caption_justify="left",
    )
    for header in ("trial", "Mtokens", "dev PPL", "gap", "state", "tokens/s", "ETA"):
        justify: JustifyMethod = "left" if header in ("trial", "state") else "right"
        table.add_column(header, justify=justify, no_wrap=True)
    rows = [(trial, trial.task.name, _gap(stage, trial)) for trial in shown]
    rows += [(trial, f"{trial.task.stage}: {trial.task.name}", "") for trial in (ahead.running if ahead else ())]
    for trial, name, gap in rows:
        rate, left = trial.tokens_per_second, trial.task.budget_tokens - trial.tokens
        table.add_row(
            name + (" *" if trial.task.is_baseline else ""),
            f"{trial.tokens / 1e6:.2f}/{trial.task.budget_tokens / 1e6:.2f}",
            f"{_ppl(trial):.2f}" if trial.rows else "",
            gap,
            Text(_state(stage, trial), style=_COLOURS.get(trial.status, "dim")),
            f"{rate:,.0f}" if rate else "",
            duration(left / rate) if rate and left > 0 and trial.status == RUNNING else "",
        )
    return table


def _worth_a_row(stage: StageRecorder) -> list[TrialState]:
    trials = list(stage.trials.values())
    if len(trials) <= MAX_ROWS:
        return trials
    return sorted(trials, key=lambda trial: (not trial.task.is_baseline, trial.status != RUNNING))[:MAX_ROWS]


def plain_line(stage: StageRecorder, ahead: StageRecorder | None = None) -> str:
    """The running trials in one line, for logs."""
    running = [
        f"{trial.task.name} {trial.tokens / trial.task.budget_tokens:.0%}"
        + (f" PPL {_ppl(trial):.2f}" if trial.rows else "")
        for trial in [*stage.running, *(ahead.running if ahead else ())]
    ]
    if not stage.missing:
        return _remaining(stage)
    more = f" and {len(running) - MAX_ROWS:,} more" if len(running) > MAX_ROWS else ""
    return f"{_remaining(stage)}: {', '.join(running[:MAX_ROWS]) or _waiting(stage)}{more}"


def duration(seconds: float) -> str:
    """`42s`, `3m 05s` or `2h 07m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    return f"{whole // 3600}h {whole % 3600 // 60:02d}m"


def running_total(summary: Mapping[str, Any] | None) -> str:
    """What a sweep has cost so far, of what budget, and what it comes to; nothing where it costs nothing."""
    if summary is None or not (summary["total_usd"] or summary["unpriced_node_seconds"]):
        return ""
    if summary["total_usd"] is None:
        return "cost unknown"
    text = f"${summary['total_usd']:,.2f} of ${summary['budget_usd']:,.2f} spent"
    if summary["unpriced_node_seconds"]:
        text = f"at least {text}"
    projected = (summary["projection"] or {}).get("total_usd")
    return text if projected is None else f"{text}, about ${projected:,.2f} in the end"


def _remaining(stage: StageRecorder) -> str:
    trials = list(stage.trials.values())
    done = sum(trial.done for trial in trials)
    name = trials[0].task.stage
    rates = [rate for trial in trials if trial.status == RUNNING and (rate := trial.tokens_per_second)]
    left = sum(trial.task.budget_tokens - trial.tokens for trial in trials if not trial.done)
    eta = f", about {duration(left / sum(rates))} left" if rates and left else ""
    spent = running_total(stage.journal.newest)
    return f"{name}: {done} of {len(trials)} done{eta}" + (f"; {spent}" if spent else "")


def _state(stage: StageRecorder, trial: TrialState) -> str:
    """The status, but `scoring` for a trial that has trained to its end and is measured on all of dev and test."""
    if trial.status == RUNNING and trial.tokens >= trial.task.budget_tokens:
        return "scoring"
    return _waiting(stage) if trial.status == WAITING and stage.waiting_for else trial.status


def _waiting(stage: StageRecorder) -> str:
    return f"waiting: {stage.waiting_for}" if stage.waiting_for else "starting workers"


def _ppl(trial: TrialState) -> float:
    return float(trial.rows[-1][JUDGED_BY])


def _gap(stage: StageRecorder, trial: TrialState) -> str:
    """Difference to its baseline's run at the newest token count that both have reached."""
    baseline = stage.baseline_of(trial)
    if baseline is None:
        return ""
    points = {row["tokens"]: row[JUDGED_BY] for row in baseline.rows}
    shared = [row for row in trial.rows if row["tokens"] in points]
    return f"{shared[-1][JUDGED_BY] - points[shared[-1]['tokens']]:+.2f}" if shared else ""
