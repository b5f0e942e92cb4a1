"""Which machines are there: for the bill, for the diary, and for a trial that finds no place.

Always holds: every machine that comes or goes is one row for the bill, and one for the diary unless it was there
from the start; what the node agents have published (type, zone, spot or not) is waited for, but not for long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.core.generated.common_pb2 import NodeDeathInfo

from cluster import ClusterError, Notice
from cluster.drain import read_records, tell_ray
from cluster.notice import NodeRecord
from cost import ledger
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.machines.price_watch import PriceWatch

HEARTBEAT_SECONDS = 15.0
LOOK_SECONDS = 1.0
GIVEN_BACK = NodeDeathInfo.Reason.Value("AUTOSCALER_DRAIN_IDLE")
DRAINED = NodeDeathInfo.Reason.Value("AUTOSCALER_DRAIN_PREEMPTED")  # as soon as nothing runs there any more
RECORD_SECONDS = 10.0  # a node joins some time before its agent has found out what it is


@dataclass(frozen=True)
class Node:
    """A live Ray node and what it can hold."""

    id: str
    is_head: bool
    cpus: float
    gpus: float

    @property
    def name(self) -> str:
        return self.id[:8]


def live_nodes() -> dict[str, Node]:
    """The nodes that Ray believes to be alive, by id."""
    found = {}
    for node in ray.nodes():
        if node["Alive"]:
            has, node_id = node["Resources"], node["NodeID"]
            is_head = "node:__internal_head__" in has
            found[node_id] = Node(node_id, is_head, has.get("CPU", 0.0), has.get("GPU", 0.0))
    return found


def death_reasons() -> dict[str, int]:
    """Why the nodes that are gone have gone, by id, in Ray's numbers (`NodeDeathInfo.Reason`)."""
    return {node["NodeID"]: node["DeathReason"] for node in ray.nodes() if not node["Alive"]}


def end_of_stay(reason: int | None, notice: Notice | None, now: float) -> dict[str, Any]:
    """What the bill has to know of a machine's end: `why`, and `paid_until` where that is later (Unix seconds).

    Ray leaves a drained machine once it is idle, long before EC2 takes it. Whether EC2 still did, or the autoscaler
    ended it first, nobody sees; so it is paid for until the deadline, and EC2 gets no credit for taking it.
    """
    if notice is None:
        return {"why": "ours" if reason == GIVEN_BACK else "lost"}
    if reason == DRAINED and now < notice.deadline:
        return {"why": "drained", "paid_until": notice.deadline}
    return {"why": "aws"}


def published_records() -> dict[str, NodeRecord]:
    """What the node agents have published, by Ray node id; nothing while Ray's head does not answer."""
    try:
        return read_records(ray.get_runtime_context().gcs_address)
    except ClusterError:
        return {}


def drain(node: Node, record: NodeRecord) -> None:
    """Have Ray place nothing more on a node whose notice stands; its agent does the same, if there is one."""
    try:
        tell_ray(record, ray.get_runtime_context().gcs_address, node.id)
    except ClusterError:
        return  # The node is on its way out anyway; a trial that lands there leaves again.


def shortage(cpus: float, gpus: float, nodes: Iterable[Node]) -> str | None:
    """Why no node could hold a trial even if nothing else ran, in words; None where one could."""
    nodes = list(nodes)
    if any(node.cpus >= cpus and node.gpus >= gpus for node in nodes):
        return None
    for what, needed, there in (
        ("GPU", gpus, [node.gpus for node in nodes]),
        ("CPU", cpus, [node.cpus for node in nodes]),
    ):
        if needed > sum(there):
            return f"needs {_count(needed, what)}, cluster has {sum(there):g}"
        if needed > max(there, default=0.0):
            return f"needs {_count(needed, what)} on one machine, the largest has {max(there):g}"
    return f"needs {_count(gpus, 'GPU')} and {_count(cpus, 'CPU')} on one machine, none has both"


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}" if number <= 1 else f"{number:g} {what}s"


class NodeWatch:
    """Watches the machines for one session of the driver; `tick` is cheap between its looks.

    Args:
        journal: where joins, notices, losses and heartbeats go.
        agents: whether node agents may run here, which tell what a machine is.
        look: the live nodes by id.
        records: what the agents have published, by node id.
        reasons: why nodes that are gone have gone, by id, in Ray's numbers.
        clock: seconds, monotonic.
        prices: told of each machine; None: nobody follows what they cost.
        beat: called with each heartbeat, and given the ids of the machines that are there.
    """

    def __init__(
        self,
        journal: Journal,
        agents: bool,
        look: Callable[[], Mapping[str, Node]] = live_nodes,
        records: Callable[[], Mapping[str, NodeRecord]] = published_records,
        reasons: Callable[[], Mapping[str, int]] = death_reasons,
        clock: Callable[[], float] = time.monotonic,
        prices: PriceWatch | None = None,
        beat: Callable[[Collection[str]], None] = lambda nodes: None,
    ) -> None:
        self.journal, self.agents, self.clock, self.prices = journal, agents, clock, prices
        self._beat = beat
        self._look, self._read_records, self._reasons = look, records, reasons
        self.nodes: dict[str, Node] = {}
        self.lost: set[str] = set()
        self._records: dict[str, NodeRecord] = {}
        self._joined: dict[str, float] = {}  # Unix seconds; not yet in the bill
        self._next_look = self._next_heartbeat = clock()
        self._started = False
        self.tick()

    @property
    def usable(self) -> list[Node]:
        """The nodes that trials may be placed on."""
        return [node for node in self.nodes.values() if self.notice(node.id) is None]

    def notice(self, node_id: str) -> Notice | None:
        """The spot notice of a node, as far as it was heard of."""
        record = self._records.get(node_id)
        return record.notice if record else None

    def tick(self) -> None:
        now = self.clock()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._take_in(dict(self._look()), self._read_records() if self.agents else {})
            self._started = True
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + HEARTBEAT_SECONDS
            self.journal.bill(ledger.heartbeat)
            if self.prices:
                self.prices.tick()
            self.journal.refresh_cost_summary()
            self._beat(self.nodes.keys())

    def called_back(self, node_id: str, notice: Notice) -> None:
        """A trial has left this node for its notice, which its agent may not have passed on."""
        if self.notice(node_id) is None and node_id in self.nodes:
            record = replace(self._records.get(node_id, NodeRecord()), notice=notice)
            self._heed(node_id, record)
            if not self.nodes[node_id].is_head:  # without its head a cluster ends
                drain(self.nodes[node_id], record)

    def close(self) -> None:
        """Bill the nodes whose agents have not said yet what they are."""
        self._bill_joined(patience=0.0)

    def _take_in(self, alive: dict[str, Node], records: Mapping[str, NodeRecord]) -> None:
        for node_id in alive.keys() - self.nodes.keys():
            self._joined[node_id] = self.journal.clock()
            if self._started:
                node = alive[node_id]
                text = f"node {node.name} joined: {_count(node.cpus, 'CPU')}, {_count(node.gpus, 'GPU')}"
                self.journal.tell("node_joined", text, node=node_id)
        for node_id, record in records.items():
            if node_id in alive or node_id in self.nodes:  # Ray keeps the records of nodes that are long gone
                self._heed(node_id, record)
        gone = self.nodes.keys() - alive.keys()
        known, self.nodes = self.nodes, {**self.nodes, **alive}
        self._bill_joined(patience=RECORD_SECONDS if self.agents else 0.0, at_once=gone)
        reasons = self._reasons() if gone else {}
        for node_id in gone:
            self._bid_farewell(known[node_id], reasons.get(node_id))
            del self.nodes[node_id]

    def _bid_farewell(self, node: Node, reason: int | None) -> None:
        notice = self.notice(node.id)
        end = end_of_stay(reason, notice, self.journal.clock())
        self.journal.bill(ledger.node_down, node=node.id, **end)
        if end["why"] == "ours":
            self.journal.tell("node_given_back", f"node {node.name} was idle and is given back", node=node.id)
            return
        self.lost.add(node.id)
        text = f"node {node.name} is gone, {'as its notice said' if notice else 'without a notice'}"
        self.journal.tell("node_lost", text, node=node.id, noticed=notice is not None)

    def _heed(self, node_id: str, record: NodeRecord) -> None:
        before, known = self.notice(node_id), self._records.get(node_id, NodeRecord())
        if record.lifecycle and not known.lifecycle and node_id in self.nodes:
            self._joined.setdefault(node_id, self.journal.clock())  # billed as one's own until now
        self._records[node_id] = record if record.notice or not before else replace(record, notice=None)
        if record.notice and record.notice != before:
            left = record.notice.deadline - self.journal.clock()
            text = f"node {node_id[:8]} has a spot notice: {record.notice.action} in {max(0.0, left):.0f} s"
            self.journal.tell("node_notice", text, node=node_id, deadline=record.notice.deadline)

    def _bill_joined(self, patience: float, at_once: Iterable[str] = ()) -> None:
        now, gone, unknown = self.journal.clock(), set(at_once), list[str]()
        for node_id, joined in list(self._joined.items()):
            if node_id in self._records or node_id in gone or now - joined >= patience:
                if self.agents and node_id not in self._records:
                    unknown.append(node_id)
                fields = _ledger_fields(self.nodes[node_id], self._records.get(node_id, NodeRecord()))
                row = self.journal.bill(ledger.node_up, time=joined, **fields)
                if self.prices:
                    self.prices.joined(row)
                del self._joined[node_id]
        if unknown:
            self._tell_unknown(unknown)

    def _tell_unknown(self, nodes: list[str]) -> None:
        usd, names = self.journal.cost.fixed_usd_per_hour, ", ".join(node_id[:8] for node_id in nodes)
        text = (
            f"no node agent says what these machines are: {names}; until one does, each is billed as your own, "
            f"at ${usd:,.2f} an hour (cost.fixed_usd_per_hour)"
        )
        self.journal.tell("nodes_unknown", text, nodes=nodes)


def _ledger_fields(node: Node, record: NodeRecord) -> dict[str, Any]:
    return {
        "node": node.id,
        "kind": "head" if node.is_head else "worker",
        "gpus": node.gpus,
        "cpus": node.cpus,
        "instance_type": record.instance_type,
        "zone": record.zone,
        "lifecycle": record.lifecycle,
        "launched_at": record.launched_at,
    }
