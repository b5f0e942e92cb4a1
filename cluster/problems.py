"""What the checks find: a place, what is wrong there, and how to mend it.

Always holds: plain values, no side effects; the commands print them and choose the exit code.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """`place`: a dotted path inside a file; `got`: what is wrong, in words; `mend`: what to do."""

    place: str
    got: str
    mend: str

    def __str__(self) -> str:
        return f"{self.place}: {self.got}; {self.mend}"
