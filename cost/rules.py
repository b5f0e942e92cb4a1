"""AWS's rules for Linux instances, beyond paying for every second.

Always holds: doubt never makes a bill smaller: an instance counts as taken back by AWS only where node_down
says `aws` (not `drained`: Ray left it before its notice was up, and nobody saw who ended it then), and as young
only where its launch is known: it may have been up long before anybody saw it.

- A spot instance that EC2 interrupts within its first hour is free; one that we end is not (EC2 User Guide,
  "Billing for interrupted Spot Instances", as of 2025).
- Each start of an instance costs at least one minute (EC2 API Reference, StartInstances).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cost.amounts import HOUR, MICROSECONDS
from cost.timeline import Presence

MINIMUM = 60 * MICROSECONDS
SPOT = "spot"


@dataclass(frozen=True)
class Life:
    """One start of an instance: its stays, oldest first, between which no driver may have been there to see it."""

    stays: tuple[Presence, ...]

    @property
    def start(self) -> int:
        launches = [stay.launched for stay in self.stays if stay.launched is not None]
        return min([self.stays[0].start, *launches])

    @property
    def end(self) -> int:
        return self.stays[-1].end

    @property
    def is_free(self) -> bool:
        """Whether EC2 took a spot instance back within its first hour."""
        last, launch_known = self.stays[-1], any(stay.launched is not None for stay in self.stays)
        taken = last.why == "aws" and last.spec.lifecycle == SPOT
        return taken and launch_known and self.end - self.start < HOUR

    @property
    def minimum_until(self) -> int:
        """Until when it is paid for although it was gone: the end, or a minute after the start of a rented one."""
        last = self.stays[-1]
        known = last.why is not None and last.spec.lifecycle is not None and not self.is_free
        return max(self.end, self.start + MINIMUM) if known else self.end


def lives(stays: Sequence[Presence]) -> tuple[Life, ...]:
    """The starts of all instances, from what `timeline.presences` gives."""
    found: list[Life] = []
    for stay in stays:
        if found and _same_life(found[-1].stays[-1], stay):
            found[-1] = Life((*found[-1].stays, stay))
        else:
            found.append(Life((stay,)))
    return tuple(found)


def _same_life(earlier: Presence, later: Presence) -> bool:
    unended = earlier.node == later.node and earlier.why is None and earlier.is_launch_of(later)
    return unended and (later.launched is None or later.launched < earlier.end)
