"""What a person sees of a stage: its table and its line, and that both stay on the screen."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

from rich.console import Console

from paramalloc.sweep.display import BUSY_INTERVAL_SECONDS, MAX_ROWS, Display, plain_line, stage_table
from tests.sweep.played import PlayedSweep, play


def test_the_display_shows_each_trial_its_gap_and_what_is_left(sweep: PlayedSweep) -> None:
    sweep.begin("base")
    play(sweep, "base", 10.0, range(2_000, 8_000, 2_000))
    sweep.begin("wide")
    sweep.evaluate("wide", 2_000, 12.5)
    table = stage_table(sweep.recorder)
    cells = {
        name: list(column.cells)
        for name, column in zip(("trial", "tokens", "ppl", "gap", "state", "rate", "eta"), table.columns, strict=True)
    }
    assert cells["trial"] == ["base *", "wide", "slow"]
    assert cells["gap"] == ["", "+2.50", ""]
    assert [str(state) for state in cells["state"]] == ["running", "running", "waiting"]
    assert cells["rate"] == ["1,000", "1,000", ""]
    assert cells["eta"][0] == "6s"  # 6,032 tokens are left at 1,000 a second
    assert plain_line(sweep.recorder).startswith("ranking: 0 of 3 done, about")


def screen(written: str) -> list[str]:
    """The lines that a terminal shows after `written`: line feeds, carriage returns, cursor up and erase line."""
    lines, at = [""], 0
    for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)", written):
        if part == "\n":
            at += 1
            lines.extend([""] * (at + 1 - len(lines)))
        elif part.endswith("A") and part.startswith("\x1b["):
            at = max(0, at - int(part[2:-1] or 1))
        elif part == "\x1b[2K":
            lines[at] = ""
        elif part and part[0] not in "\r\x1b":
            lines[at] += part
    return lines


def test_the_table_of_each_stage_stays_on_the_screen(sweep: PlayedSweep) -> None:
    stream = io.StringIO()
    with Display(Console(file=stream, force_terminal=True, color_system=None, width=100)) as display:
        for _ in range(2):
            display.show(sweep.recorder)
            display.refresh()
            display.end_stage()
    names = [line.split()[0] for line in screen(stream.getvalue()) if line.split()[1:2] == ["0.00/0.01"]]
    assert names == ["wide", "slow"] * 2


def test_of_many_trials_the_baseline_and_those_that_run_are_shown(played: Callable[..., PlayedSweep]) -> None:
    rates = [round(1e-4 * rate, 6) for rate in range(1, 3 * MAX_ROWS)]
    sweep = played(experiments=[{"name": "base"}, {"name": "wide", "learning_rate": rates}])
    last = f"wide@lr{rates[-1]}"
    sweep.begin(last)
    table = stage_table(sweep.recorder)
    assert list(table.columns[0].cells)[:2] == ["base *", last]
    assert len(table.rows) == MAX_ROWS
    assert f"{1 + len(rates) - MAX_ROWS} more trials" in str(table.caption)
    for rate in rates[: MAX_ROWS + 1]:
        sweep.begin(f"wide@lr{rate}")
    line = plain_line(sweep.recorder)
    assert line.count("wide@") == MAX_ROWS
    assert line.endswith(" and 2 more")


def test_a_table_of_many_trials_is_drawn_a_few_times_a_second(played: Callable[..., PlayedSweep]) -> None:
    rates = [round(1e-4 * rate, 6) for rate in range(1, 2 * MAX_ROWS)]
    sweep, now, stream = played(experiments=[{"name": "base", "learning_rate": rates}]), [0.0], io.StringIO()
    console = Console(file=stream, force_terminal=True, color_system=None, width=100)
    with Display(console, clock=lambda: now[0]) as display:
        display.show(sweep.recorder)
        shown = len(stream.getvalue())
        display.refresh()
        assert len(stream.getvalue()) == shown
        now[0] += BUSY_INTERVAL_SECONDS
        display.refresh()
        assert len(stream.getvalue()) > shown
