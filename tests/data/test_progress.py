"""Progress: nothing without a terminal, a bar that is gone afterwards on one."""

from __future__ import annotations

import io

from rich.console import Console

from paramalloc.data.progress import bars_on, counted, no_bars


def test_without_a_terminal_nothing_is_drawn() -> None:
    screen = io.StringIO()
    progress = bars_on(Console(file=screen))
    assert progress is no_bars
    with progress("tokenizing", 100) as advance:
        advance(50)
    assert screen.getvalue() == ""


def test_a_bar_shows_what_is_done_and_leaves_the_screen_clean() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    with bars_on(console)("tokenizing train", 20_000_000) as advance:
        advance(15_000_000)
        console.print("meanwhile")
    assert "tokenizing train" in screen.getvalue()
    assert "15.0/20.0 MB" in screen.getvalue()
    console.print("afterwards")
    last_lines = screen.getvalue().rsplit("\x1b[2K", 1)[1]  # what is written after the last line was erased
    assert last_lines.strip("\r\n") == "afterwards"


def test_counting_passes_texts_on() -> None:
    sizes: list[int] = []
    assert list(counted(["a", "größer"], sizes.append)) == ["a", "größer"]
    assert sizes == [1, 8]
