"""What workers are given to do, and who watches over it.

Always holds: a job and all that it takes can be sent to another machine, and be done again from its beginning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import ray

Report = Callable[[dict[str, Any]], None]
T = TypeVar("T")


class Shared(Generic[T]):
    """A value in Ray's object store, which a node fetches once; arrays in it are not copied.

    Tune copies what it is given deeply, and of this there is to be one.
    """

    def __init__(self, value: T) -> None:
        self._reference = ray.put(value)

    def get(self) -> T:
        value: T = ray.get(self._reference)
        return value

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared[T]:
        return self


@dataclass(frozen=True)
class Job:
    """`function(*arguments, report)`, to be called in a worker; it reports plain dicts, and has to be repeatable."""

    function: Callable[..., None]
    arguments: tuple[Any, ...]


class Overseer(Protocol):
    """Whoever has jobs done; it is told of each by its name, while `Workers.step` is called."""

    def place_in_line(self, name: str) -> tuple[bool, ...]:
        """Sorts those that wait for a worker, of all overseers."""

    def wanted(self, name: str, waiting: bool) -> bool:
        """Whether the job is still to be done. `waiting`: it has no worker."""

    def began(self, name: str) -> None:
        """The job has a worker."""

    def receive(self, name: str, payload: dict[str, Any]) -> bool:
        """Take in a report. Returns True when the job has to stop."""

    def ended(self, name: str) -> None:
        """The job's worker has been let go, since it was told to stop or had nothing more to do."""

    def lost(self, name: str, cause: str) -> None:
        """The job's worker is gone, and another is started."""


@dataclass
class Asked:
    """A job that is not over, and whose it is."""

    name: str
    job: Shared[Job]
    overseer: Overseer


def brief(error: BaseException) -> str:
    """An error's first line, and from Ray's long accounts of a dead worker the sentence that says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    details = [line for line in lines if line.startswith(("The actor is dead because", "Memory on the node"))]
    return (details or lines)[0][:300]
