"""The agent's decisions, on a clock of numbers and a metadata service of plain values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TypeVar

import pytest

from cluster.agent import ABSENT_POLL_SECONDS, LONGEST_POLL_SECONDS, POLL_SECONDS, Agent
from cluster.errand import LONGEST_RETRY_SECONDS, TIMEOUT_SECONDS, Errand
from cluster.imds import MetadataError
from cluster.notice import NodeRecord, Notice

T = TypeVar("T")
MACHINE = NodeRecord("i-1", "g5.xlarge", "us-east-1a", "spot")


@dataclass
class Service:
    """What the metadata service says; a path in `fails` does not answer."""

    notice: tuple[str, float] | None = None
    recommended: float | None = None
    fails: set[str] = field(default_factory=set)

    def record(self) -> NodeRecord:
        return self._answer("record", MACHINE)

    def spot_notice(self) -> tuple[str, float] | None:
        return self._answer("notice", self.notice)

    def rebalance(self) -> float | None:
        return self._answer("rebalance", self.recommended)

    def _answer(self, name: str, value: T) -> T:
        if name in self.fails or "all" in self.fails:
            raise MetadataError(f"{name} timed out")
        return value


@dataclass
class Process:
    """Told to Ray; `status` is what `poll` will say."""

    record: NodeRecord
    status: int | None = None
    words: str = ""
    killed: bool = False

    def poll(self) -> int | None:
        return self.status

    def reason(self) -> str:
        return self.words

    def kill(self) -> None:
        self.killed = True


class World:
    """One node: `tick(seconds)` moves its clock and lets the agent look."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.service = Service()
        self.processes: list[Process] = []
        self.lines: list[str] = []
        self.disk: list[NodeRecord] = []
        self.disk_full = self.no_memory = False
        self.errand = Errand(self._launch, self.lines.append)
        self.agent = Agent(self.service, self._save, self.errand, self.lines.append)

    def tick(self, seconds: float = POLL_SECONDS) -> float:
        self.now += seconds
        return self.agent.tick(self.now)

    def _save(self, record: NodeRecord) -> None:
        if self.disk_full:
            raise OSError("no space left")
        self.disk.append(record)

    def _launch(self, record: NodeRecord) -> Process:
        if self.no_memory:
            raise OSError("no memory")
        self.processes.append(Process(record))
        return self.processes[-1]


@pytest.fixture
def world() -> World:
    return World()


def test_a_quiet_machine_is_published_once_and_then_left_alone(world: World) -> None:
    assert world.tick() == POLL_SECONDS
    world.processes[0].status = 0
    for _ in range(5):
        assert world.tick() == POLL_SECONDS
    assert world.disk == [MACHINE]
    assert [process.record for process in world.processes] == [MACHINE]
    assert world.lines == ["this is i-1, spot g5.xlarge in us-east-1a", "told Ray: "]


def test_a_notice_is_written_down_and_told_at_the_same_look(world: World) -> None:
    world.tick()
    world.processes[0].status = 0
    world.tick()
    world.service.notice = ("terminate", 1120.0)
    world.tick()
    expected = replace(MACHINE, notice=Notice("terminate", 1120.0, noticed_at=world.now))
    assert world.disk[-1] == world.processes[-1].record == expected
    world.processes[-1].status = 0
    world.tick()
    world.tick()
    assert len(world.disk) == len(world.processes) == 2
    assert sum("notice" in line for line in world.lines) == 1
    assert world.lines[2] == "spot notice: terminate at 1970-01-01T00:18:40Z, in 114 s"


def test_a_withdrawn_notice_is_a_false_one(world: World) -> None:
    world.service.notice = ("terminate", 1120.0)
    world.tick()
    world.service.notice = None
    world.tick()
    assert world.disk[-1] == MACHINE
    assert world.lines[-1] == "the spot notice was withdrawn"


def test_a_changed_deadline_is_told_anew(world: World) -> None:
    for deadline in (1120.0, 1090.0):
        world.service.notice = ("stop", deadline)
        world.tick()
    assert world.processes[0].killed
    assert world.processes[1].record.notice == Notice("stop", 1090.0, noticed_at=world.now)


def test_a_recommendation_is_a_hint_and_no_notice(world: World) -> None:
    world.service.recommended = 990.0
    world.tick()
    assert world.disk == [replace(MACHINE, rebalance_at=990.0)]
    assert "noted, nothing is stopped" in world.lines[-1]


@pytest.mark.parametrize("fails", ["rebalance", "record"])
def test_a_notice_counts_even_where_nothing_else_answers(world: World, fails: str) -> None:
    world.service.fails, world.service.notice = {fails}, ("terminate", 1120.0)
    world.tick()
    assert world.disk[-1].notice
    world.service.fails = set()
    world.tick()
    assert world.disk[-1].instance_id == "i-1"
    assert world.disk[-1].notice


def test_a_failing_service_keeps_the_notice_and_is_asked_less_often(world: World) -> None:
    world.service.notice = ("terminate", 1120.0)
    world.tick()
    world.service.fails = {"all"}
    pauses = [world.tick() for _ in range(20)]
    assert pauses[:3] == [POLL_SECONDS, 2 * POLL_SECONDS, 4 * POLL_SECONDS]
    assert max(pauses) == pauses[-1] == LONGEST_POLL_SECONDS
    assert world.agent.record.notice
    assert len(world.disk) == 1
    world.service.fails = set()
    assert world.tick() == POLL_SECONDS
    assert [line for line in world.lines if "metadata" in line] == [
        "the metadata service fails (notice timed out); trying again",
        "the metadata service answers",
    ]


def test_off_ec2_it_says_so_once_and_writes_nothing(world: World) -> None:
    world.service.fails = {"all"}
    pauses = [world.tick() for _ in range(8)]
    assert pauses[-1] == ABSENT_POLL_SECONDS
    assert world.agent.absent
    assert (world.disk, world.processes, len(world.lines)) == ([], [], 1)
    assert "not on EC2" in world.lines[0]


def test_a_service_that_comes_late_is_still_found(world: World) -> None:
    world.service.fails = {"all"}
    for _ in range(8):
        world.tick()
    world.service.fails = set()
    assert world.tick() == POLL_SECONDS
    assert not world.agent.absent
    assert world.disk == [MACHINE]


def test_a_full_disk_does_not_keep_ray_from_being_told(world: World) -> None:
    world.disk_full, world.service.notice = True, ("terminate", 1120.0)
    world.tick()
    world.tick()
    assert world.processes[0].record.notice
    assert sum("cannot write" in line for line in world.lines) == 1
    world.disk_full = False
    world.tick()
    assert world.disk[-1].notice


def test_ray_is_told_until_it_hears_with_growing_pauses_and_one_line(world: World) -> None:
    world.tick()
    for _ in range(120):
        world.processes[-1].status, world.processes[-1].words = 2, "no head"
        world.tick(1.0)
    assert 5 <= len(world.processes) <= 2 + 120 / (LONGEST_RETRY_SECONDS / 2)
    assert sum("no head" in line for line in world.lines) == 1
    while world.processes[-1].status:
        world.tick(1.0)
    world.processes[-1].status = 0
    world.tick()
    assert not world.errand.pending
    assert world.lines[-1].startswith("told Ray")


def test_a_process_that_hangs_is_killed_and_tried_again(world: World) -> None:
    world.tick()
    world.tick(TIMEOUT_SECONDS + 1)
    assert world.processes[0].killed
    world.tick(LONGEST_RETRY_SECONDS)
    assert len(world.processes) == 2


def test_a_process_that_cannot_start_is_tried_again(world: World) -> None:
    world.no_memory = True
    world.tick()
    world.tick()
    assert world.errand.pending
    assert sum("no memory" in line for line in world.lines) == 1
    world.no_memory = False
    world.tick(LONGEST_RETRY_SECONDS)
    assert len(world.processes) == 1


def test_a_notice_does_not_wait_behind_a_hanging_publication(world: World) -> None:
    world.tick()
    world.service.notice = ("terminate", 1120.0)
    world.tick()
    assert world.processes[0].killed
    assert world.processes[1].record.notice
