"""How far a long pass over the text is: nothing by default, a bar with MB/s and time left on a terminal.

Always holds: whoever prepares text only says what it does and how many bytes it has done; a bar is gone when its
phase ends, so it never meets another live display; without a terminal nothing is drawn.

    with progress("tokenizing train", total_bytes) as advance:
        advance(len(document.encode()))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

Advance = Callable[[int], None]
Phases = Callable[[str, int | None], AbstractContextManager[Advance]]
"""Opens a phase: what is done, how many bytes it will take (None: not known), and a function to count them with."""

_STEP_BYTES = 1 << 20  # a bar is not touched more often: documents may be short


@contextmanager
def no_bars(what: str, total_bytes: int | None) -> Iterator[Advance]:
    """A phase that nobody watches."""
    yield lambda count: None


def counted(texts: Iterable[str], advance: Advance) -> Iterator[str]:
    """The texts as they come, their UTF-8 bytes counted."""
    for text in texts:
        advance(len(text.encode()))
        yield text


def bars_on(console: Console) -> Phases:
    """Bars on a terminal, else nothing. Only while no other live display is shown on `console`."""
    if not console.is_terminal:
        return no_bars

    @contextmanager
    def bar(what: str, total_bytes: int | None) -> Iterator[Advance]:
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with Progress(TextColumn("{task.description}"), *columns, console=console, transient=True) as display:
            task = display.add_task(what, total=total_bytes)
            waiting = 0

            def advance(count: int) -> None:
                nonlocal waiting
                waiting += count
                if waiting >= _STEP_BYTES:
                    display.advance(task, waiting)
                    waiting = 0

            yield advance

    return bar
