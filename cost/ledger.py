"""The vocabulary of `events.jsonl`: what has to be written down so that a bill can be worked out later.

Always holds: an event is a frozen, checked value; `parse` sorts and removes repetitions, so neither the
order of the rows nor writing one twice matters; rows of other kinds and unknown fields are left alone.
Nothing open has to be closed: what a killed driver left open ends at the last event of its session
(heartbeats come every 15 s or so).
Append the row that `node_up(time=..., session=..., ...)` gives; read with `parse(read_rows(path))`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, ParamSpec

from pydantic import ConfigDict, Field, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from cost.errors import CostError

Row = dict[str, Any]
NodeKind = Literal["head", "worker"]
Status = Literal["finished", "killed", "diverged", "failed", "interrupted"]
Text = Annotated[str, Field(min_length=1)]
NonNegative = Annotated[float, Field(ge=0)]
# Unix seconds. The bound, in the year 5138, catches times in milliseconds.
Time = Annotated[float, Field(ge=0, lt=1e11)]
Arguments = ParamSpec("Arguments")
OWN = "own"  # as the lifecycle of a price: it ends where the machine turns out to be rented
FIXED_SOURCE = "cost.fixed_usd_per_hour of the sweep file"  # as the source of a price: nobody was asked

_CHECKED = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class Event:
    """Something that happened at `time`, in Unix seconds."""

    event: ClassVar[str]
    time: Time


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class SessionEvent(Event):
    """An event of one run of the driver. Its last one closes whatever that run left open."""

    session: Text


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class SessionStart(SessionEvent):
    event: ClassVar[str] = "session_start"


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class SessionEnd(SessionEvent):
    event: ClassVar[str] = "session_end"


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class Heartbeat(SessionEvent):
    event: ClassVar[str] = "heartbeat"


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class NodeUp(SessionEvent):
    """A machine is there. `lifecycle`: null for a machine of one's own, else `spot` or `on-demand`.

    `launched_at`: when its instance was started, where that is known. It is paid for from then on (but not from
    before the sweep's first session_start), and on through any time when no driver was there to see it.
    """

    event: ClassVar[str] = "node_up"
    node: Text
    kind: NodeKind
    gpus: NonNegative
    cpus: NonNegative
    instance_type: Text | None = None
    zone: Text | None = None
    lifecycle: Text | None = None
    launched_at: Time | None = None


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class NodeDown(SessionEvent):
    """The machine is gone. `why`: `aws` (EC2 took a spot instance back), `ours`, `lost`, or other words.

    `paid_until`: until when it may be paid for although the sweep has nothing of it any more; null for no longer.
    A machine that Ray has left before its notice was up (`drained`) is paid for until EC2 takes it, or we end it.
    """

    event: ClassVar[str] = "node_down"
    node: Text
    why: str
    paid_until: Time | None = None


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class TrialStart(SessionEvent):
    """An attempt at a trial begins. `share`: the fraction of the node's GPUs, or else CPUs, that it holds."""

    event: ClassVar[str] = "trial_start"
    node: Text
    stage: Text
    trial: Text
    variant: Text
    share: Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class TrialEnd(SessionEvent):
    """The attempt ends. The seconds are this attempt's: work that is kept, work that has to be done again."""

    event: ClassVar[str] = "trial_end"
    node: Text
    stage: Text
    trial: Text
    status: Status
    useful_seconds: NonNegative | None = None
    lost_seconds: NonNegative | None = None


@dataclass(frozen=True, kw_only=True, config=_CHECKED)
class Price(Event):
    """What an hour costs from `time` on: of one node, or of the nodes of one instance type in one zone.

    `lifecycle`: the nodes that it holds for, `OWN` for machines of one's own; null for all. `observed_at`: when it
    was asked for. `source`: who said so, in words. `stale`: nobody did; a stand-in that holds only as long as no true
    sample is known.
    """

    event: ClassVar[str] = "price"
    usd_per_hour: NonNegative
    node: Text | None = None
    instance_type: Text | None = None
    zone: Text | None = None
    lifecycle: Text | None = None
    observed_at: Time | None = None
    source: Text | None = None
    stale: bool = False

    @model_validator(mode="after")
    def _priced_thing_is_named(self) -> Price:
        if self.node is None and None in (self.instance_type, self.zone):
            raise ValueError("a price names its node, or its instance_type and zone")
        return self

    @property
    def heard_at(self) -> float:
        return self.time if self.observed_at is None else self.observed_at


_KINDS: dict[str, type[Event]] = {
    kind.event: kind for kind in (SessionStart, SessionEnd, Heartbeat, NodeUp, NodeDown, TrialStart, TrialEnd, Price)
}


def row_of(event: Event) -> Row:
    """The row that `parse` makes this event of."""
    return {"event": event.event} | asdict(event)


def _row_maker(kind: Callable[Arguments, Event]) -> Callable[Arguments, Row]:
    def row(*args: Arguments.args, **fields: Arguments.kwargs) -> Row:
        return row_of(kind(*args, **fields))

    return row


# `node_up(time=..., session=..., ...)` and so on give the row to append; a wrong field raises ValueError.
session_start, session_end = _row_maker(SessionStart), _row_maker(SessionEnd)
heartbeat, price = _row_maker(Heartbeat), _row_maker(Price)
node_up, node_down = _row_maker(NodeUp), _row_maker(NodeDown)
trial_start, trial_end = _row_maker(TrialStart), _row_maker(TrialEnd)


def parse(rows: Iterable[Mapping[str, Any]]) -> tuple[Event, ...]:
    """The cost events among `rows`, each once, by time. Errors: CostError for one that cannot be right."""
    events = {_parse_row(_KINDS[kind], row) for row in rows if (kind := str(row.get("event"))) in _KINDS}
    return tuple(sorted(events, key=lambda event: (event.time, event.event, repr(event))))


def _parse_row(kind: type[Event], row: Mapping[str, Any]) -> Event:
    try:
        return kind(**row)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "row"
        place = f"events: {kind.event} at {row.get('time')}: {where}"
        got = "nothing" if first["type"] == "missing" else repr(row.get(where, dict(row)))
        raise CostError(place, got, first["msg"]) from None


def read_rows(path: Path) -> list[Row]:
    """The whole rows of a JSON-lines file; a torn line is left out. Errors: CostError if unreadable."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise CostError(
            str(path), (error.strerror or "an error").lower(), "give the results folder of a sweep"
        ) from None
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
