"""What befalls a sweep, drawn from a seed: the same seed always draws the same faults at the same points.

Always holds: pure; every kind of fault comes up within `len(KINDS)` seeds in a row; a fault strikes when the sweep
has reached a number of evaluations, not at a time of day, so that a slow machine gets the same faults.

    Plan.draw(seed=7).faults      # what `run.run_plan` does to a sweep, in order
    Plan.driver_kill(seed=7)      # kill -9 of the driver at a random share of the sweep's duration
    Plan.of_trace([3.0, 11.0])    # machines lost without a notice at these seconds
    Plan.of_kind("raylet_silent") # that fault alone
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

# Each is a function of the same name in `faults.py`, which says what it does.
KINDS = (
    "node_killed",
    "notice_by_agent",
    "driver_killed",
    "worker_killed",
    "notice_too_late",
    "checkpoint_flipped",
    "host_silent",
    "false_alarm",
    "driver_interrupted",
    "two_nodes_killed",
    "metadata_hangs",
    "checkpoint_truncated",
    "disk_full",
    "head_lost",
    "storage_fails",
    "disk_of_head_lost",
)
BESIDES = ("raylet_silent", "killed_while_writing")  # run once each; the draws of old seeds stay what they were
# These begin a new driver or a new cluster, so only one of them makes a run.
_HEAVY = frozenset(
    {
        "driver_killed",
        "driver_interrupted",
        "checkpoint_flipped",
        "checkpoint_truncated",
        "disk_full",
        "head_lost",
        "disk_of_head_lost",
    }
)
STORED = frozenset({"storage_fails", "disk_of_head_lost"})  # make a run of a sweep that is kept on S3
_LIGHT = tuple(kind for kind in KINDS if kind not in _HEAVY | STORED)
LAST_EVALUATION = 26  # an undisturbed sweep has some forty; the last ones come too late to strike at
SECOND_FAULT = 0.4


@dataclass(frozen=True)
class Fault:
    """One blow.

    Args:
        kind: one of KINDS or BESIDES.
        after_evaluations: strikes once the sweep has reported this many, counted over all trials.
        victim: picks the node or the trial, modulo how many there are.
        fraction: in [0, 1), free to the kind: which bit is flipped, how long a false alarm lasts.
        after_seconds: since the driver's start; None: evaluations count.
    """

    kind: str
    after_evaluations: int
    victim: int
    fraction: float
    after_seconds: float | None = None


@dataclass(frozen=True)
class Plan:
    name: str
    faults: tuple[Fault, ...]

    @classmethod
    def draw(cls, seed: int) -> Plan:
        """One fault of the kind that is this seed's turn, and often one more that a node or a worker suffers."""
        dice = random.Random(seed)
        kinds = [KINDS[seed % len(KINDS)]]
        if dice.random() < SECOND_FAULT:
            kinds.append(dice.choice(_LIGHT))
        points = sorted(dice.randrange(LAST_EVALUATION + 1) for _ in kinds)
        dice.shuffle(kinds)
        faults = [
            Fault(kind, point, dice.randrange(1000), dice.random()) for kind, point in zip(kinds, points, strict=True)
        ]
        return cls(f"seed {seed}", tuple(faults))

    @classmethod
    def of_kind(cls, kind: str) -> Plan:
        """Once both machines are at work."""
        return cls(kind, (Fault(kind, 4, 0, 0.5),))

    @classmethod
    def driver_kill(cls, seed: int, duration_seconds: float) -> Plan:
        """`duration_seconds`: of an undisturbed sweep."""
        dice = random.Random(f"driver {seed}")
        moment = dice.uniform(0.0, duration_seconds)
        return cls(f"kill {seed}", (Fault("driver_killed", 0, 0, dice.random(), after_seconds=moment),))

    @classmethod
    def of_trace(cls, name: str, seconds: Sequence[float]) -> Plan:
        faults = [
            Fault("node_killed", 0, victim, 0.0, after_seconds=moment)
            for victim, moment in enumerate(sorted(seconds))
        ]
        return cls(name, tuple(faults))


def compressed(loss_seconds: Sequence[float], count: int, duration_seconds: float, first: int = 0) -> list[float]:
    """`count` losses of a recorded trace from its loss number `first` on, squeezed into `duration_seconds`.

    The gaps keep their proportions; the first loss comes after one part in `count + 1`. Errors: ValueError for a
    trace with fewer losses.
    """
    chosen = sorted(loss_seconds)[first : first + count]
    if len(chosen) < count:
        raise ValueError(f"a trace of {len(loss_seconds)} losses has none from {first} to {first + count}")
    lead = duration_seconds / (count + 1)
    span = chosen[-1] - chosen[0] or 1.0
    return [lead + (moment - chosen[0]) / span * (duration_seconds - lead) for moment in chosen]


def losses_of_node_trace(text: str) -> list[float]:
    """Seconds at which nodes go, from lines of `milliseconds,add|remove,node`."""
    rows = (line.split(",") for line in text.splitlines() if line)
    return [int(row[0]) / 1000 for row in rows if row[1] == "remove"]
