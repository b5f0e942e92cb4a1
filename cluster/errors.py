"""The one exception for everything that a person, a file or the network can get wrong about a cluster.

Always holds: it says where, what was got, and what is allowed or what to do next. `python -m cluster` turns it
into one line on stderr and exit code 2.
"""

from __future__ import annotations

EXIT_USER_ERROR = 2


class ClusterError(ValueError):
    """A mistake outside this package: a file that is not there, a key that cannot be right, a Ray that is away."""

    def __init__(self, place: str, got: str, allowed: str) -> None:
        super().__init__(f"{place}: got {got}; {allowed}")
        self.place, self.got, self.allowed = place, got, allowed

    def __reduce__(self) -> tuple[type[ClusterError], tuple[str, str, str]]:
        return ClusterError, (self.place, self.got, self.allowed)
