"""Recorded spot machines for a simulation: when each of them is there, and what an hour of it costs.

Always holds: pure functions of files and a seed; where no recording is at hand a seeded random one takes its place,
and `said_by` says so.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

RECORDED = Path("spot")
AVAILABILITY = RECORDED / "bamboo" / "traces" / "p3-trace.csv"  # milliseconds, add or remove, machine
PRICES = RECORDED / "aws-g2.2xlarge-2015"  # a file per zone: time, dollars per hour
HOUR = 3600.0
_UP_HOURS, _DOWN_HOURS, _RANDOM_HOURS, _RANDOM_PLACES = 2.0, 0.5, 24.0, 50


@dataclass(frozen=True)
class SpotTrace:
    """Machines and their markets.

    stays: of each place for a machine, from and to in seconds, within `seconds`.
    prices: of each zone, seconds and dollars an hour.
    """

    stays: Sequence[Sequence[tuple[float, float]]]
    seconds: float
    prices: dict[str, list[tuple[float, float]]]
    said_by: str

    def place(self, number: int, places: int, length: float, speed: float) -> list[tuple[float, float]]:
        """When there is a machine in place `number` of so many, within `length` seconds.

        Each replays a recorded one, `speed` times as fast, from a point of its own: with more places than were
        recorded, no two machines come and go at the same time.
        """
        offset = self.seconds * number / places
        recorded = self.stays[number % len(self.stays)]
        shifted = [
            (start - offset + turn * self.seconds, end - offset + turn * self.seconds)
            for turn in range(2 + int(length * speed / self.seconds))
            for start, end in recorded
        ]
        within = [(max(0.0, start / speed), min(length, end / speed)) for start, end in shifted]
        return [(start, end) for start, end in within if start < end]

    def price_changes(self, zone: str, length: float) -> list[tuple[float, float]]:
        """The prices of a zone from 0 to `length` seconds, the first of them in force at 0."""
        first = self.prices[zone][0][0]
        return [(time - first, usd) for time, usd in self.prices[zone] if time - first <= length]


def load_trace(data: Path, seed: int = 0) -> SpotTrace:
    """The recorded trace below `data`, else a random one."""
    if (data / AVAILABILITY).exists() and (data / PRICES).is_dir():
        return _recorded(data)
    return _random(random.Random(seed))


def _recorded(data: Path) -> SpotTrace:
    begun: dict[str, float] = {}
    stays: list[tuple[float, float]] = []
    last = 0.0
    with (data / AVAILABILITY).open() as stream:
        for milliseconds, what, name in csv.reader(stream):
            last = int(milliseconds) / 1000
            if what == "add":
                begun.setdefault(name, last)
            elif name in begun:
                stays.append((begun.pop(name), last))
    stays += [(since, last) for since in begun.values()]
    prices = {path.name.split("_")[0]: _read_prices(path) for path in sorted((data / PRICES).glob("*.csv"))}
    return SpotTrace(_in_places(stays), last, prices, "recorded spot traces (Bamboo's p3, AWS's g2.2xlarge of 2015)")


def _in_places(stays: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """As few places as can hold them all: the next machine takes the place that was left last."""
    places: list[list[tuple[float, float]]] = []
    for stay in sorted(stays):
        free = [place for place in places if place[-1][1] <= stay[0]]
        if free:
            max(free, key=lambda place: place[-1][1]).append(stay)
        else:
            places.append([stay])
    return places


def _read_prices(path: Path) -> list[tuple[float, float]]:
    with path.open() as stream:
        rows = csv.DictReader(stream)
        return [(datetime.fromisoformat(row["timestamp"]).timestamp(), float(row["spot_price_usd"])) for row in rows]


def _random(draw: random.Random) -> SpotTrace:
    length = _RANDOM_HOURS * HOUR

    def place() -> list[tuple[float, float]]:
        found, now = [], 0.0
        while now < length:
            up = draw.expovariate(1 / (_UP_HOURS * HOUR))
            found.append((now, min(length, now + up)))
            now += up + draw.expovariate(1 / (_DOWN_HOURS * HOUR))
        return found

    def market() -> list[tuple[float, float]]:
        return [(300.0 * step, round(0.3 + 0.1 * draw.random(), 4)) for step in range(int(length / 300))]

    prices = {zone: market() for zone in ("us-east-1a", "us-east-1b", "us-east-1c")}
    return SpotTrace(
        [place() for _ in range(_RANDOM_PLACES)], length, prices, f"a random trace (no {RECORDED}/ at hand)"
    )
