"""The results folder of one driver: locked, set aside where a fresh start is asked for, and kept in storage.

Always holds: nothing is touched before the folder is locked, and in storage nothing before it is ours there too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console

from paramalloc.results import ResultsFolder
from paramalloc.storage.lock import sole_driver
from paramalloc.storage.session import stored


@contextmanager
def workplace(folder: ResultsFolder, fresh: bool, console: Console) -> Iterator[None]:
    """Have `folder` for oneself, without earlier results where `fresh` is asked for.

    Errors: UserError when another driver has it, or its storage; StorageError when S3 cannot be used.
    """

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    ending = f".old-{datetime.now():%Y%m%d-%H%M%S}" if fresh else None
    if ending and folder.root.exists():
        with sole_driver(folder.lock):
            aside = folder.root.with_name(f"{folder.root.name}{ending}")
            folder.root.rename(aside)
            say(f"earlier results set aside in {aside}")
    with sole_driver(folder.lock) as left_behind:
        if left_behind:
            say(f"carrying on after {left_behind}, which ended without a word")
        with stored(folder, say, ending):
            yield
