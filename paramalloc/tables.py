"""Tables on a terminal or in a pipe: whole, however narrow the place calls itself.

Always holds: a digit is never cut away.
"""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

COLUMNS = 140


def print_whole(table: Table, console: Console) -> None:
    """Print in at most 140 columns, or as many as the console has; what may fold folds.

    Fitted into the 80 columns that a pipe is taken for, numbers would end in an ellipsis.
    """
    columns = max(console.width, COLUMNS)
    table.width = min(columns, Measurement.get(console, console.options.update(width=1_000), table).maximum)
    console.print(table, crop=False)
