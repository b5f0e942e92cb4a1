"""A ranking of any size on any number of machines, played on a virtual clock through the real driver code.

Always holds: only trials, machines and Ray's placing of the ones on the others are made up; trials report what
`perplexity` says, so who is killed does not depend on when anything happens.

    figures = play(Scene(trials=1_000, machines=50), Path("data"), Path("results"), Path("cache"))
"""

from __future__ import annotations

import heapq
import itertools
import resource
import sys
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.played_driver import (
    BATCH_TOKENS,
    EVALUATIONS,
    INSTANCE_TYPE,
    NOTICE_SECONDS,
    START,
    TRIAL_TOKENS,
    Clock,
    Driver,
    Machines,
    sweep_config,
    sweep_data,
    write_plan,
)
from benchmarks.played_trials import evaluation, finished, preempted, started
from benchmarks.spot_traces import SpotTrace, load_trace
from cost import ledger
from paramalloc.files import append_jsonl
from paramalloc.plan import make_plan
from paramalloc.report import build_report
from paramalloc.report.live import write_live_page
from paramalloc.results import ResultsFolder

BILLS = 5  # of which the fastest counts: it takes as long again where other work has had the caches
TICK_SECONDS = 1.0  # Tune asks ten times a second; nothing that the driver looks at changes as often


@dataclass(frozen=True)
class Scene:
    """How large a sweep is, and how fast: by default sixty times as fast as trials of ten minutes on real machines.

    machines: as many as there may be at once; 1 is a machine of one's own, more are spot machines of a trace, which
    is replayed `trace_speed` times as fast. slots: trials on each at once. trial_seconds: what one takes to train.
    """

    trials: int
    machines: int
    slots: int = 1
    trial_seconds: float = 10.0
    trace_speed: float = 60.0


class Played:
    """The events of a sweep in their order: machines come and go, trials report."""

    def __init__(self, scene: Scene, trace: SpotTrace, root: Path, cache: Path) -> None:
        self.scene, self.trace, self.clock = scene, trace, Clock()
        config = sweep_config(scene.trials, cache)
        self.plan, self.data, self.folder = make_plan(config), sweep_data(config), ResultsFolder(root)
        write_plan(self.plan, self.data, self.folder)
        self.machines = Machines(scene.slots, list(trace.prices))
        self.driver = Driver(self.plan, self.data, self.folder, self.clock, self.machines)
        self.waiting: deque[str] = deque()
        self.free: list[str] = []  # machines, once for each free slot
        self.on: dict[str, set[str]] = {}  # trials by machine
        self.attempt: dict[str, int] = {}  # an event of an attempt that is over does not happen
        self.saved: dict[str, int] = {}  # tokens in a trial's checkpoint
        self.lag_seconds = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._calling: set[str] = set()  # machines with notice

    @property
    def length(self) -> float:
        """Seconds that are enough for all trials, were half of the machines there."""
        scene = self.scene
        return 2 * scene.trials * scene.trial_seconds / (scene.machines * scene.slots) + 4 * scene.trial_seconds

    def run(self) -> None:
        self.waiting.extend(self.driver.guard.admit(self.driver.recorder))
        self._schedule_machines()
        self._at(0.0, self._tick)
        while self.driver.recorder.missing and self._events:
            due, _, happens = heapq.heappop(self._events)
            self.lag_seconds = max(self.lag_seconds, self.clock.now - due)
            self.clock.now = max(self.clock.now, due)
            happens()
            self._place()
        with self.clock.driver("end"):
            self.driver.control.nodes.close()
            self.driver.journal.close()

    def _at(self, when: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), happens))

    def _schedule_machines(self) -> None:
        if self.scene.machines == 1:
            self._at(0.0, partial(self._arrive, "n0", 0, None))
            return
        for zone in self.trace.prices:
            for when, usd in self.trace.price_changes(zone, self.length):
                self._at(when, partial(self._sample, zone, usd))
        for place in range(self.scene.machines):
            stays = self.trace.place(place, self.scene.machines, self.length, self.scene.trace_speed)
            for number, (start, end) in enumerate(stays):
                name = f"n{place}-{number}"
                self._at(start, partial(self._arrive, name, place, START + start))
                if end < self.length:
                    self._at(max(start, end - NOTICE_SECONDS), partial(self._give_notice, name))
                    self._at(end, partial(self._take, name))

    def _sample(self, zone: str, usd: float) -> None:
        sample = ledger.price(
            time=self.clock.unix(),
            usd_per_hour=usd,
            instance_type=INSTANCE_TYPE,
            zone=zone,
            lifecycle="spot",
            source="trace",
        )
        append_jsonl(self.folder.events, sample)

    def _tick(self) -> None:
        with self.clock.driver("tick"):
            self.driver.control.tick()
        self._at(self.clock.now + TICK_SECONDS, self._tick)

    def _arrive(self, name: str, place: int, launched: float | None) -> None:
        self.machines.add(name, place, launched)
        self.on[name] = set()
        self.free += [name] * self.scene.slots

    def _give_notice(self, name: str) -> None:
        """All but one machine in three are called back in time; that one just goes."""
        if int(name.split("-")[0][1:]) % 3 == 0:
            return
        self.machines.notice(name, self.clock.unix())
        self._calling.add(name)
        self.free = [other for other in self.free if other != name]
        for trial in sorted(self.on[name]):
            self._report(trial, preempted(self._tokens(trial), "spot notice"))
            self._leave(trial, name, "it left")

    def _take(self, name: str) -> None:
        self.machines.remove(name)
        self.free = [other for other in self.free if other != name]
        for trial in sorted(self.on.pop(name)):
            self._leave(trial, name, "its machine is gone")

    def _leave(self, trial: str, name: str, cause: str) -> None:
        self.attempt[trial] += 1
        self.on.get(name, set()).discard(trial)
        with self.clock.driver("lost"):
            self.driver.control.lost(trial, cause)
        self.waiting.appendleft(trial)

    def _place(self) -> None:
        """As Ray would: who waits first gets what is free."""
        while self.free and self.waiting:
            trial, name = self.waiting.popleft(), self.free.pop()
            self.on[name].add(trial)
            attempt = self.attempt[trial] = self.attempt.get(trial, 0) + 1
            tokens = self.saved.get(trial, 0)
            known = [old for old in self.driver.recorder.trials[trial].rows if old["tokens"] <= tokens]
            with self.clock.driver("start"):
                self.driver.control.began(trial)
                self.driver.control.receive(trial, started(name, 1 / self.scene.slots, tokens, known))
            self._next(trial, name, attempt)

    def _next(self, trial: str, name: str, attempt: int) -> None:
        step = self.scene.trial_seconds / EVALUATIONS
        self._at(self.clock.now + step, partial(self._go_on, trial, name, attempt))

    def _go_on(self, trial: str, name: str, attempt: int) -> None:
        """The trial has trained another part; it is over when it is told to stop, or has nothing more to do."""
        if self.attempt[trial] != attempt:
            return
        tokens = min(self._tokens(trial) + TRIAL_TOKENS // EVALUATIONS, TRIAL_TOKENS)
        ppl = perplexity(trial, tokens)
        stop = self._report(trial, evaluation(tokens, ppl, tokens / TRIAL_TOKENS * self.scene.trial_seconds))
        self.saved[trial] = tokens
        if tokens >= TRIAL_TOKENS and not stop:
            self._report(trial, finished(ppl))
            stop = True
        if not stop:
            self._next(trial, name, attempt)
            return
        with self.clock.driver("end of a trial"):
            self.driver.control.ended(trial)
        self.on[name].discard(trial)
        if name not in self._calling:
            self.free.append(name)

    def _report(self, trial: str, payload: dict[str, Any]) -> bool:
        with self.clock.driver(payload["kind"]):
            return self.driver.control.receive(trial, payload)

    def _tokens(self, trial: str) -> int:
        return self.driver.recorder.trials[trial].tokens


def perplexity(trial: str, tokens: int) -> float:
    """A curve that falls; every third variant is so bad that it loses."""
    number = sum(map(ord, trial.split("@")[0]))
    return 10.0 + 50.0 * BATCH_TOKENS / tokens + (2.0 if number % 3 == 0 and not trial.startswith("base") else 0.0)


def play(scene: Scene, data: Path, root: Path, cache: Path) -> dict[str, Any]:
    """Play a sweep to its end and measure what it took; `data` holds recorded traces, maybe."""
    before = _memory_mb()
    played = Played(scene, load_trace(data), root, cache)
    played.run()
    clock, folder = played.clock, played.folder
    for _ in range(BILLS):
        with clock.driver("bill"):
            played.driver.journal.cost_summary()
    memory_mb = _memory_mb() - before
    with clock.driver("resume"):
        again = Driver(played.plan, played.data, folder, clock, played.machines)
    assert not again.recorder.missing
    with clock.driver("page"):
        write_live_page(folder, running=True)
    files_mb = sum(file.stat().st_size for file in root.rglob("*") if file.is_file()) / 1e6
    with clock.driver("report"):
        build_report(folder)
    measured_after = ("bill", "page", "report", "resume")
    statuses = Counter(trial.status for trial in played.driver.recorder.trials.values())
    return {
        "trials": scene.trials,
        "machines": scene.machines,
        "lost_machines": len(played.machines.gone),
        "by_status": dict(statuses),
        "preemptions": played.driver.journal.preemptions(),
        "ms_per_report": 1e3 * clock.mean("evaluation"),
        "ms_per_end": 1e3 * clock.mean("finished"),
        "ms_per_tick": 1e3 * clock.mean("tick"),
        "seconds_per_bill": min(clock.samples["bill"]),
        "seconds_per_page": clock.mean("page"),
        "seconds_of_report": clock.mean("report"),
        "seconds_to_carry_on": clock.mean("resume"),
        "driver_seconds": sum(clock.total(what) for what in clock.samples if what not in measured_after),
        "share_of_the_time": clock.busy_seconds / clock.now,
        "lag_seconds": played.lag_seconds,
        "memory_mb": memory_mb,
        "files_mb": files_mb,
        "events_mb": folder.events.stat().st_size / 1e6,
        "cost_summary_mb": folder.cost_summary.stat().st_size / 1e6,
    }


def _memory_mb() -> float:
    """The most that this process has held so far; Linux counts in KiB, macOS in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e6 if sys.platform == "darwin" else 1024)
