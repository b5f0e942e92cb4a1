"""The one exception for everything that a person or a file can get wrong about costs.

Always holds: it says where, what was got, and what is allowed or what to do next. `python -m cost` turns it
into one line on stderr and exit code 2.
"""

from __future__ import annotations

EXIT_USER_ERROR = 2


class CostError(ValueError):
    """A mistake outside this package: a file that is not there, a row that cannot be right."""

    def __init__(self, place: str, got: str, allowed: str) -> None:
        super().__init__(f"{place}: got {got}; {allowed}")
        self.place, self.got, self.allowed = place, got, allowed

    def __reduce__(self) -> tuple[type[CostError], tuple[str, str, str]]:
        return CostError, (self.place, self.got, self.allowed)
