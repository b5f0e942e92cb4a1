"""Workers outlive their jobs, are replaced when they die, and are let go when nothing needs them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from paramalloc.sweep.machines.jobs import Job, Report, brief
from paramalloc.sweep.machines.tune_loop import IdleWorkers
from paramalloc.sweep.machines.workers import Workers


class Told:
    """An overseer that keeps what it is told."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, Any]] = []
        self.events: list[tuple[str, str]] = []
        self.unwanted: set[str] = set()

    def place_in_line(self, name: str) -> tuple[bool, ...]:
        return (name != "first",)

    def wanted(self, name: str, waiting: bool) -> bool:
        return name not in self.unwanted

    def began(self, name: str) -> None:
        self.events.append(("began", name))

    def ended(self, name: str) -> None:
        self.events.append(("ended", name))

    def lost(self, name: str, cause: str) -> None:
        self.events.append(("lost", name))

    def receive(self, name: str, payload: dict[str, Any]) -> bool:
        self.reports.append((name, payload["value"]))
        return bool(payload.get("last", False))

    def pids(self) -> dict[str, int]:
        """The last process that each job has reported."""
        return {name: value for name, value in self.reports if isinstance(value, int)}


def own_pid(report: Report) -> None:
    report({"value": os.getpid()})


def pid_and_wait(gate: Path, report: Report) -> None:
    report({"value": os.getpid()})
    while not gate.exists():
        time.sleep(0.01)


def run(workers: Workers, told: Told, until: Callable[[], bool] = lambda: False) -> None:
    deadline = time.monotonic() + 60
    while workers.has_jobs_of(told) and not until():
        assert time.monotonic() < deadline, told.events
        workers.step()


def test_a_worker_takes_the_jobs_of_whoever_comes_next(workers: Workers) -> None:
    first, second = Told(), Told()
    workers.give({"a": Job(own_pid, ())}, first)
    run(workers, first)
    workers.give({"b": Job(own_pid, ()), "c": Job(own_pid, ())}, second)
    run(workers, second)
    assert first.events == [("began", "a"), ("ended", "a")]
    assert first.pids()["a"] in second.pids().values()
    assert not workers.has_jobs_of(first)


def test_an_idle_worker_that_has_died_is_replaced(workers: Workers) -> None:
    """Tune finds out when it hands the dead one the next job, and gives that up."""
    told = Told()
    workers.give({"a": Job(own_pid, ())}, told)
    run(workers, told)
    dead = psutil.Process(told.pids()["a"])
    dead.kill()
    dead.wait(10)
    workers.give({"b": Job(own_pid, ())}, told)
    run(workers, told)
    assert told.pids()["b"] != told.pids()["a"]
    assert told.events[2:] == [("began", "b"), ("ended", "b")]  # no loss of the second job's


def test_a_job_whose_worker_is_killed_is_done_again(workers: Workers, tmp_path: Path) -> None:
    told, gate = Told(), tmp_path / "gate"
    workers.give({"a": Job(pid_and_wait, (gate,))}, told)
    run(workers, told, until=lambda: bool(told.reports))
    workers.kill(told, "a")
    run(workers, told, until=lambda: ("lost", "a") in told.events)
    gate.touch()
    run(workers, told)
    assert [event for event, _ in told.events] == ["began", "lost", "began", "ended"]
    assert len({pid for _, pid in told.reports}) == 2


def test_what_is_dropped_ends_with_its_worker_and_is_not_heard_of_again(workers: Workers, tmp_path: Path) -> None:
    told, others = Told(), Told()
    workers.give({"a": Job(pid_and_wait, (tmp_path / "never",))}, told)
    run(workers, told, until=lambda: bool(told.reports))
    process = psutil.Process(told.pids()["a"])
    workers.drop(told)
    assert not workers.has_jobs_of(told)
    process.wait(10)
    workers.give({"b": Job(own_pid, ())}, others)
    run(workers, others)
    assert told.events == [("began", "a")]
    assert others.pids()["b"] != process.pid


def test_a_job_that_is_not_wanted_any_more_is_stopped(workers: Workers, tmp_path: Path) -> None:
    told, gate = Told(), tmp_path / "gate"
    workers.give({name: Job(pid_and_wait, (gate,)) for name in ("a", "b", "c")}, told)
    run(workers, told, until=lambda: len(told.reports) == 2)
    told.unwanted = {"a", "b", "c"}
    run(workers, told)
    gate.touch()
    assert {name for event, name in told.events if event == "ended"} == {"a", "b", "c"}
    assert ("began", "c") not in told.events


def test_a_spare_job_waits_until_nobody_needs_the_worker_it_takes(workers: Workers, tmp_path: Path) -> None:
    """Two workers, three jobs that are needed: the spare one begins when the last of them has a worker."""
    told, spare, gate = Told(), Told(), tmp_path / "gate"
    workers.give({"s": Job(own_pid, ())}, spare, spare=True)
    workers.give({name: Job(pid_and_wait, (gate,)) for name in ("a", "b", "c")}, told)
    run(workers, told, until=lambda: len(told.reports) == 2)
    for _ in range(20):
        workers.step()
    assert spare.events == []
    gate.touch()
    run(workers, told)
    run(workers, spare)
    assert spare.events == [("began", "s"), ("ended", "s")]
    assert len({*told.pids().values(), *spare.pids().values()}) == 2


def test_a_spare_job_takes_room_on_a_machine_that_is_there(workers: Workers, tmp_path: Path) -> None:
    told, spare, gate = Told(), Told(), tmp_path / "gate"
    workers.dismiss(keep=0)
    workers.give({"s": Job(own_pid, ())}, spare, spare=True)
    workers.give({"a": Job(pid_and_wait, (gate,))}, told)
    run(workers, told, until=lambda: ("ended", "s") in spare.events)
    gate.touch()
    run(workers, told)


def test_a_spare_job_that_loses_its_worker_stands_behind_who_waits_now(workers: Workers, tmp_path: Path) -> None:
    told, spare, gate = Told(), Told(), tmp_path / "gate"
    workers.give({"s": Job(pid_and_wait, (gate,)), "t": Job(pid_and_wait, (gate,))}, spare, spare=True)
    run(workers, spare, until=lambda: len(spare.reports) == 2)
    workers.give({"a": Job(pid_and_wait, (gate,))}, told)
    workers.kill(spare, "s")
    run(workers, told, until=lambda: bool(told.reports))
    assert [event for event, name in spare.events if name == "s"] == ["began", "lost"]
    gate.touch()
    run(workers, told)
    run(workers, spare)
    assert [event for event, name in spare.events if name == "s"] == ["began", "lost", "began", "ended"]


def test_spare_jobs_become_like_others_when_their_time_has_come(workers: Workers, tmp_path: Path) -> None:
    told, others, gate = Told(), Told(), tmp_path / "gate"
    workers.give({"s": Job(own_pid, ())}, told, spare=True)
    workers.give({name: Job(pid_and_wait, (gate,)) for name in ("a", "b")}, others)
    run(workers, others, until=lambda: len(others.reports) == 2)
    assert workers.jobs_of(told) == {"s"}
    workers.give({"t": Job(own_pid, ())}, told)
    assert workers.jobs_of(told) == {"s", "t"}
    gate.touch()
    run(workers, told)
    assert {name for event, name in told.events if event == "ended"} == {"s", "t"}
    run(workers, others)


def test_idle_workers_but_one_are_gone_when_they_are_dismissed(workers: Workers, tmp_path: Path) -> None:
    told, gate = Told(), tmp_path / "gate"
    workers.give({name: Job(pid_and_wait, (gate,)) for name in ("a", "b")}, told)
    run(workers, told, until=lambda: len(told.reports) == 2)
    gate.touch()
    run(workers, told)
    processes = [psutil.Process(pid) for pid in told.pids().values()]
    workers.dismiss(keep=1)
    deadline = time.monotonic() + 10
    while len(alive := [process for process in processes if process.is_running()]) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    workers.give({"c": Job(own_pid, ())}, told)
    run(workers, told)
    assert told.pids()["c"] == alive[0].pid


def test_an_idle_worker_is_let_go_after_its_time_the_oldest_first() -> None:
    now = 0.0
    idle = IdleWorkers(seconds=60.0, clock=lambda: now)
    for worker in ("old", "new"):
        assert idle.cache_object("size", worker)
        now += 30.0
    assert list(idle.flush_cached_objects()) == ["old"]
    now += 29.0
    assert list(idle.flush_cached_objects()) == []
    assert idle.pop_cached_object("size") == "new"
    assert not idle.has_cached_object("size")
    assert idle.num_cached_objects == 0


def test_the_worker_that_was_busy_last_is_taken_first() -> None:
    idle = IdleWorkers()
    for worker in ("first", "second", "third"):
        idle.cache_object("size", worker)
    assert idle.pop_cached_object("size") == "third"
    idle.at_most = 1
    assert list(idle.flush_cached_objects()) == ["first"]
    assert list(idle.flush_cached_objects(force_all=True)) == ["second"]


def test_of_rays_long_account_of_a_death_the_sentence_that_says_why_is_kept() -> None:
    account = "The actor died unexpectedly.\n\tclass_name: X\n\tThe actor is dead because its node has died."
    assert brief(RuntimeError(account)) == "The actor is dead because its node has died."
    assert brief(ValueError()) == "ValueError"
