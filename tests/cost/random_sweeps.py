"""Random sweeps, as the events of machines and attempts at trials that a bill is made from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from cost import ledger

Row = dict[str, Any]
HORIZON = 40  # whole units of time; the last heartbeat


@dataclass(frozen=True)
class Node:
    name: str
    kind: str
    gpus: int
    market: str
    lifecycle: str | None
    launched: int | None
    up: int
    down: int | None
    why: str

    @property
    def since(self) -> int:
        return self.up if self.launched is None else self.launched

    @property
    def until(self) -> int:
        return HORIZON if self.down is None else self.down

    def rows(self, unit: int) -> list[Row]:
        place = {"session": "s", "node": self.name}
        spec = {"kind": self.kind, "gpus": self.gpus, "cpus": 2, "lifecycle": self.lifecycle}
        market = {"instance_type": self.market, "zone": "z"}
        launch = {} if self.launched is None else {"launched_at": float(self.launched * unit)}
        rows = [ledger.node_up(time=self.up * unit, **place, **spec, **market, **launch)]
        if self.down is not None:
            rows.append(ledger.node_down(time=self.down * unit, **place, why=self.why))
        return rows

    def waived(self, unit: int) -> bool:
        taken = self.down is not None and self.why == "aws" and self.lifecycle == "spot"
        return taken and self.launched is not None and (self.until - self.since) * unit < 3600


@dataclass(frozen=True)
class Try:
    """`status` None: no end was written. `undone`: the last units, whose work was lost, if that is known.

    `killed_later`: a verdict came after the end.
    """

    trial: str
    node: str
    share: float
    start: int
    end: int
    status: str | None
    undone: int | None
    killed_later: bool = False

    def rows(self, unit: int) -> list[Row]:
        place = {"session": "s", "node": self.node, "stage": f"stage-{self.trial[0]}", "trial": self.trial}
        rows = [ledger.trial_start(time=self.start * unit, **place, variant=self.trial[-1], share=self.share)]
        if self.status is not None:
            lost = {"status": self.status, "lost_seconds": self.undone if self.undone is None else self.undone * unit}
            rows.append(ledger.trial_end(time=self.end * unit, **place, **lost))
            if self.killed_later:
                rows.append(ledger.trial_end(time=self.end * unit, **place, status="killed"))
        return rows

    @property
    def outcome(self) -> str | None:
        return "killed" if self.killed_later else self.status

    @property
    def kept_until(self) -> int:
        if self.status not in ("interrupted", "failed"):
            return self.end
        unknown = 0 if self.status == "interrupted" else HORIZON
        return max(self.start, self.end - (unknown if self.undone is None else self.undone))


@dataclass(frozen=True)
class Sweep:
    """`unit`: seconds; long ones reach beyond the first hour, short ones stay below the minimum of a minute."""

    unit: int
    nodes: list[Node]
    tries: list[Try]
    prices: list[Row] = field(default_factory=list)
    fixed: float | None = None

    def rows(self) -> list[Row]:
        parts = [part.rows(self.unit) for part in (*self.nodes, *self.tries)]
        return [row for rows in parts for row in rows] + self.prices + [heartbeat(HORIZON * self.unit)]


def heartbeat(time: int) -> Row:
    return ledger.heartbeat(time=time, session="s")


KINDS = (None, "spot", "on-demand")
WHYS = st.sampled_from(["ours", "aws", "lost"])
LIFECYCLES = st.sampled_from(KINDS)
PRICED: list[Row] = [
    {"node": "n1"},
    *({"instance_type": kind, "zone": "z", "lifecycle": of} for kind in "ab" for of in KINDS),
]
# Strategies are made once: making them takes longer than drawing from them. Time, dollars, what is priced, stale.
SAMPLES = st.lists(
    st.tuples(st.integers(0, HORIZON), st.decimals(0, 5, places=4), st.sampled_from(PRICED), st.booleans()),
    max_size=8,
    unique_by=lambda sample: (sample[0], sample[2].get("node"), sample[2].get("instance_type")),
)
FIXED = st.sampled_from([None, 0.0, 0.37])


@st.composite
def sweeps(draw: st.DrawFn) -> Sweep:
    """Well-formed sweeps in whole units: attempts lie within their node's stay and follow one another."""
    unit = draw(st.sampled_from([1, 100]))
    nodes = []
    for name in draw(st.sampled_from([["n1"], ["n1", "n2"], ["n1", "n2", "n3"]])):
        up = draw(st.integers(0, HORIZON - 2))
        down = draw(st.none() | st.integers(up + 1, HORIZON))
        kind, market = draw(st.sampled_from(["head", "worker"])), draw(st.sampled_from(["a", "b"]))
        launched, why = draw(st.none() | st.integers(0, up)), draw(WHYS)
        gpus = draw(st.integers(0, 4))
        nodes.append(Node(name, kind, gpus, market, draw(LIFECYCLES), launched, up, down, why))
    tries = [one for trial in ("1a", "1b", "2a") for one in draw(attempts_at(trial, nodes))]
    prices = [
        ledger.price(time=time * unit, usd_per_hour=float(usd), stale=stale, **thing)
        for time, usd, thing, stale in draw(SAMPLES)
    ]
    return Sweep(unit, nodes, tries, prices, draw(FIXED))


@st.composite
def attempts_at(draw: st.DrawFn, trial: str, nodes: list[Node]) -> list[Try]:
    tries: list[Try] = []
    share, clock = draw(st.sampled_from([0.25, 0.333, 0.5, 1.0])), 0
    for _ in range(draw(st.integers(0, 3))):
        node = draw(st.sampled_from(nodes))
        if max(clock, node.up) >= node.until:
            break
        start = draw(st.integers(max(clock, node.up), node.until - 1))
        clock = draw(st.integers(start + 1, node.until))
        status = draw(st.sampled_from(["finished", "killed", "diverged", "failed", "interrupted"]))
        tries.append(Try(trial, node.name, share, start, clock, status, draw(st.none() | st.integers(0, 20))))
    if tries and draw(st.booleans()):
        last = next(node for node in nodes if node.name == tries[-1].node)
        tries[-1] = replace(tries[-1], status=None, end=last.until)
    elif tries and draw(st.booleans()):
        tries[-1] = replace(tries[-1], killed_later=True)
    return tries
