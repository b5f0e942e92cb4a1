"""Machines that come and go, as the bill and the diary see them; and why a trial finds no place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray.core.generated.common_pb2 import NodeDeathInfo

from cluster import Notice
from cluster.notice import NodeRecord
from cost import ledger, summarize
from paramalloc.config import CostConfig
from paramalloc.files import read_jsonl
from paramalloc.results import ResultsFolder
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.machines import nodes as nodes_module
from paramalloc.sweep.machines.nodes import DRAINED, GIVEN_BACK, Node, NodeWatch, shortage

HEAD = Node("h" * 56, True, 0.0, 0.0)
UNEXPECTED = NodeDeathInfo.Reason.Value("UNEXPECTED_TERMINATION")
SPOT = NodeRecord("i-1", "g5.xlarge", "us-east-1b", "spot", launched_at=1_000.5)
NOTICE = Notice("terminate", deadline=1_120.0, noticed_at=1_000.0)


def worker(letter: str, cpus: float = 4.0, gpus: float = 1.0) -> Node:
    return Node(letter * 56, False, cpus, gpus)


class World:
    """The machines there are, and the time."""

    def __init__(self, root: Path, *there: Node, agents: bool = True) -> None:
        self.now = 1_000.0
        self.nodes = {node.id: node for node in there}
        self.records: dict[str, NodeRecord] = {}
        self.folder, self.said = ResultsFolder(root), list[str]()
        journal = Journal(self.folder, CostConfig(), self.said.append, clock=lambda: self.now)
        self.reasons: dict[str, int] = {}
        self.watch = NodeWatch(
            journal,
            agents,
            lambda: self.nodes,
            lambda: self.records,
            lambda: self.reasons,
            clock=lambda: self.now,
        )

    def later(self, seconds: float = 1.0) -> None:
        self.now += seconds
        self.watch.tick()

    def rows(self, event: str) -> list[dict[str, Any]]:
        return [row for row in read_jsonl(self.folder.events) if row["event"] == event]


@pytest.mark.parametrize(
    ("cpus", "gpus", "nodes", "said"),
    [
        (1, 1, [worker("a")], None),
        (1, 0.5, [worker("a", gpus=0.5)], None),
        (1, 1, [], "needs 1 GPU, cluster has 0"),
        (1, 0, [], "needs 1 CPU, cluster has 0"),
        (1, 0, [HEAD], "needs 1 CPU, cluster has 0"),
        (1, 1, [HEAD, worker("a", gpus=0)], "needs 1 GPU, cluster has 0"),
        (1, 2, [worker("a"), worker("b")], "needs 2 GPUs on one machine, the largest has 1"),
        (8, 1, [worker("a"), worker("b", cpus=8, gpus=0)], "needs 1 GPU and 8 CPUs on one machine, none has both"),
    ],
)
def test_a_trial_that_no_machine_could_hold_says_why(
    cpus: float, gpus: float, nodes: list[Node], said: str | None
) -> None:
    assert shortage(cpus, gpus, nodes) == said


def test_a_machine_is_billed_from_its_coming_on_once_its_agent_has_said_what_it_is(tmp_path: Path) -> None:
    world = World(tmp_path, HEAD)
    node = worker("a")
    world.nodes[node.id] = node
    world.later()
    assert world.said == ["node aaaaaaaa joined: 4 CPUs, 1 GPU"]
    world.later(3.0)
    assert world.rows("node_up") == []
    world.records[node.id] = SPOT
    world.later()
    (up,) = world.rows("node_up")
    assert (up["time"], up["instance_type"], up["zone"], up["lifecycle"], up["launched_at"]) == (
        1_001.0,
        "g5.xlarge",
        "us-east-1b",
        "spot",
        1_000.5,
    )
    world.later(4.0)
    world.watch.close()
    (line,) = [line for line in world.watch.journal.bill_now({})["by_node"] if line["node"] == node.id]
    assert line["node_seconds"] == world.now - 1_000.5  # boot included


def test_a_machine_whose_agent_speaks_late_is_billed_as_what_it_is_from_its_launch_on(tmp_path: Path) -> None:
    world = World(tmp_path, HEAD)
    node = worker("a")
    world.nodes[node.id] = node
    world.later()
    world.later(11.0)
    assert "no node agent says what these machines are: hhhhhhhh, aaaaaaaa; until one does" in world.said[-1]
    world.records[node.id] = SPOT
    for _ in range(3):
        world.later()
    assert [row["lifecycle"] for row in world.rows("node_up") if row["node"] == node.id] == [None, "spot"]
    (line,) = [line for line in world.watch.journal.bill_now({})["by_node"] if line["node"] == node.id]
    assert (line["lifecycle"], line["node_seconds"]) == ("spot", world.now - 1_000.5)
    assert line["usd"] is None  # a spot machine whose price nobody has said, not one's own at the fixed price


def test_a_local_session_says_nothing_of_agents(tmp_path: Path) -> None:
    world = World(tmp_path, HEAD, agents=False)
    world.later(11.0)
    assert world.said == []


def test_a_machine_without_an_agent_is_billed_as_it_is_after_a_while_and_at_the_end(tmp_path: Path) -> None:
    world = World(tmp_path, HEAD)
    world.later(11.0)
    assert [(row["node"], row["time"], row["instance_type"]) for row in world.rows("node_up")] == [
        (HEAD.id, 1_000.0, None)
    ]
    assert "hhhhhhhh; until one does, each is billed as your own, at $0.00 an hour" in world.said[-1]
    world.nodes[worker("a").id] = worker("a")
    world.later()
    world.watch.close()
    assert len(world.rows("node_up")) == 2
    alone = World(tmp_path / "alone", HEAD, agents=False)
    assert len(alone.rows("node_up")) == 1


@pytest.mark.parametrize(("noticed", "why"), [(True, "aws"), (False, "lost")])
def test_only_a_machine_that_had_notice_was_taken_by_aws(tmp_path: Path, noticed: bool, why: str) -> None:
    node = worker("a")
    world = World(tmp_path, HEAD, node)
    world.records[node.id] = SPOT
    world.later()
    if noticed:
        world.records[node.id] = NodeRecord("i-1", "g5.xlarge", "us-east-1b", "spot", notice=NOTICE)
    world.later()
    world.later()
    assert len(world.rows("node_notice")) == noticed
    assert (node in world.watch.usable) != noticed
    del world.nodes[node.id]
    world.later()
    (down,), (lost,) = world.rows("node_down"), world.rows("node_lost")
    assert (down["why"], lost["noticed"]) == (why, noticed)
    assert world.watch.lost == {node.id}


@pytest.mark.parametrize(
    ("left_at", "reason", "why", "ended", "free"),
    [
        # Ray leaves the idle machine at once; EC2 takes it at 1,120, if nobody else ends it.
        (1_005.0, DRAINED, "drained", 1_120.0, False),
        # At the deadline EC2 takes the machine with what runs there; Ray's reason is the same.
        (1_121.0, DRAINED, "aws", 1_121.0, True),
        (1_050.0, UNEXPECTED, "aws", 1_050.0, True),
    ],
)
def test_a_machine_with_notice_is_paid_for_until_it_is_taken_not_until_ray_leaves_it(
    tmp_path: Path, left_at: float, reason: int, why: str, ended: float, free: bool
) -> None:
    node = worker("a")
    world = World(tmp_path, HEAD, node)
    record = replace(SPOT, launched_at=1_000.0, notice=NOTICE)
    world.records[node.id] = record
    world.later(left_at - world.now - 1.0)
    del world.nodes[node.id]
    world.reasons[node.id] = reason
    world.later()
    (down,) = world.rows("node_down")
    assert (down["why"], max(down["time"], down["paid_until"] or 0.0)) == (why, ended)
    price = ledger.price(time=0.0, usd_per_hour=3600.0, node=node.id)
    summary = summarize([*read_jsonl(world.folder.events), price], budget_usd=None, now=0.0, fixed_usd_per_hour=0.0)
    (line,) = [line for line in summary["by_node"] if line["node"] == node.id]
    assert line["first_hour_free"] == free
    assert line["usd"] == (0.0 if free else ended - 1_000.0)


def test_a_notice_that_is_withdrawn_makes_the_machine_usable_again(tmp_path: Path) -> None:
    node = worker("a")
    world = World(tmp_path, node)
    world.records[node.id] = NodeRecord("i-1", notice=NOTICE)
    world.later()
    assert world.watch.usable == []
    world.records[node.id] = NodeRecord("i-1")
    world.later()
    assert world.watch.usable == [node]


def test_a_machine_that_a_trial_had_to_leave_is_drained_once_but_never_the_head(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drained: list[str] = []
    monkeypatch.setattr(nodes_module, "drain", lambda node, record: drained.append(node.id))
    node = worker("a")
    world = World(tmp_path, HEAD, node, agents=False)
    for name in (node.id, node.id, HEAD.id, "gone"):
        world.watch.called_back(name, NOTICE)
    assert drained == [node.id]
    assert len(world.rows("node_notice")) == 2


def test_a_machine_that_came_and_went_between_two_looks_at_the_agents_is_billed_whole(tmp_path: Path) -> None:
    world = World(tmp_path, HEAD)
    world.nodes[worker("a").id] = worker("a")
    world.later()
    del world.nodes[worker("a").id]
    world.later()
    (up,) = [row for row in world.rows("node_up") if row["node"] == worker("a").id]
    (down,) = world.rows("node_down")
    assert (up["time"], down["time"]) == (1_001.0, 1_002.0)


def test_a_notice_of_a_machine_that_was_gone_before_this_session_is_no_news(tmp_path: Path) -> None:
    world = World(tmp_path, HEAD)
    world.records["g" * 56] = replace(SPOT, notice=NOTICE)
    world.later()
    assert world.said == []
    assert world.rows("node_notice") == []


def test_an_idle_machine_that_the_autoscaler_gives_back_is_not_lost(tmp_path: Path) -> None:
    node = worker("a")
    world = World(tmp_path, HEAD, node)
    world.records[node.id] = SPOT
    world.later()
    del world.nodes[node.id]
    world.reasons[node.id] = GIVEN_BACK
    world.later()
    assert world.rows("node_down")[0]["why"] == "ours"
    assert world.said[-1] == "node aaaaaaaa was idle and is given back"
    assert world.rows("node_lost") == []
    assert world.watch.lost == set()
