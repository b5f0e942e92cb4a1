"""Silence is measured against a trial's own pace, on a clock that the test turns."""

from __future__ import annotations

import pytest

from paramalloc.sweep.watchdog import Watchdog


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dog(clock: Clock) -> Watchdog:
    return Watchdog(unknown_pace_seconds=900.0, shortest_seconds=60.0, clock=clock)


def report_every(dog: Watchdog, clock: Clock, seconds: float, times: int = 4) -> None:
    for _ in range(times):
        clock.now += seconds
        dog.heard("a")


def silent_after(dog: Watchdog, clock: Clock, seconds: float) -> bool:
    clock.now += seconds
    return "a" in dog.silent()


@pytest.mark.parametrize(("gap", "limit"), [(1.0, 60.0), (20.0, 200.0), (300.0, 3000.0)])
def test_a_trial_may_be_silent_for_ten_times_its_pace_but_always_for_a_minute(
    dog: Watchdog, clock: Clock, gap: float, limit: float
) -> None:
    dog.begin("a")
    report_every(dog, clock, gap)
    assert not silent_after(dog, clock, limit)
    assert silent_after(dog, clock, 1.0)


def test_before_its_second_report_and_while_it_is_scored_a_trial_has_the_long_limit(
    dog: Watchdog, clock: Clock
) -> None:
    dog.begin("a")
    assert not silent_after(dog, clock, 900.0)
    dog.heard("a")
    assert not silent_after(dog, clock, 900.0)
    report_every(dog, clock, 1.0)
    dog.heard("a", unhurried=True)
    assert not silent_after(dog, clock, 900.0)
    assert silent_after(dog, clock, 1.0)


def test_the_time_between_two_attempts_is_neither_silence_nor_pace(dog: Watchdog, clock: Clock) -> None:
    dog.begin("a")
    report_every(dog, clock, 1.0)
    dog.end("a")
    assert not silent_after(dog, clock, 1e6)
    dog.begin("a")
    clock.now += 800.0
    dog.heard("a")
    assert not silent_after(dog, clock, 60.0)
    assert silent_after(dog, clock, 1.0)


def test_a_silence_is_told_once_and_the_next_attempt_gets_twice_the_time(dog: Watchdog, clock: Clock) -> None:
    dog.begin("a")
    report_every(dog, clock, 1.0)
    assert silent_after(dog, clock, 61.0)
    assert not silent_after(dog, clock, 1e6)
    dog.begin("a")
    dog.heard("a")
    assert not silent_after(dog, clock, 120.0)
    assert silent_after(dog, clock, 1.0)


def test_a_limit_that_was_set_longer_holds_from_the_start(clock: Clock) -> None:
    dog = Watchdog(shortest_seconds=2_000.0, clock=clock)
    dog.begin("base")
    clock.now += 1_999.0
    assert dog.silent() == {}
    clock.now += 2.0
    assert dog.silent() == {"base": 2_001.0}
