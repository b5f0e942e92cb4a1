"""From events to intervals: when each node was there, and when each attempt at a trial held a share of it.

Always holds: times are whole microseconds, so that lengths add up exactly; the intervals of one node do not
overlap; what a session left open ends at the session's last event, unless a later one knows that the same
start of the instance was still there. At one instant an end comes before a start, unless nothing was open:
then both make an interval of no length.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction

from cost.amounts import MICROSECONDS, microseconds
from cost.ledger import Event, NodeDown, NodeKind, NodeUp, SessionEvent, SessionStart, Status, TrialEnd, TrialStart

__all__ = ["MICROSECONDS", "Attempt", "NodeSpec", "Presence", "attempts", "presences"]


@dataclass(frozen=True)
class NodeSpec:
    """What a node is, as far as its price and its device hours go."""

    kind: NodeKind
    gpus: float
    cpus: float
    instance_type: str | None
    zone: str | None
    lifecycle: str | None


@dataclass(frozen=True)
class Presence:
    """A node was there, and paid for, from `start` to `end`; all times in microseconds.

    `joined`: when a driver first saw it; `launched`: when its instance was started, if that was written down
    (maybe before the sweep, hence before `start`); `why`: what node_down said, None where no end was written.
    """

    node: str
    start: int
    end: int
    spec: NodeSpec
    joined: int
    launched: int | None = None
    why: str | None = None

    def is_launch_of(self, other: Presence) -> bool:
        """Whether both may be one start of an instance, as far as anybody wrote down when that was."""
        return None in (self.launched, other.launched) or self.launched == other.launched


@dataclass(frozen=True)
class Attempt:
    """One go at a trial on one node; all times in microseconds. `status` is None where no end was written.

    `killed_later`: it had ended otherwise when the trial turned out to have lost before.
    """

    stage: str
    trial: str
    variant: str
    node: str
    share: Fraction
    start: int
    end: int
    status: Status | None = None
    useful: int | None = None
    lost: int | None = None
    killed_later: bool = False

    @property
    def outcome(self) -> Status | None:
        """How the trial stands after it."""
        return "killed" if self.killed_later else self.status


def presences(events: Sequence[Event]) -> tuple[Presence, ...]:
    """When every node was there, by node and time, from what `ledger.parse` gives; touching stays are one."""
    closes = _session_closes(events)
    sweep_start = min((microseconds(event.time) for event in events if isinstance(event, SessionStart)), default=0)
    groups: dict[Hashable, list[NodeUp | NodeDown]] = defaultdict(list)
    for event in _identified([event for event in events if isinstance(event, NodeUp | NodeDown)]):
        groups[event.session, event.node].append(event)
    stays = [stay for group in groups.values() for stay in _stays(group, closes[group[0].session], sweep_start)]
    merged: list[Presence] = []
    for stay in sorted(stays, key=lambda stay: (stay.node, stay.start, stay.end, repr(stay))):
        last = merged[-1] if merged and merged[-1].node == stay.node else None
        if last and stay.start <= last.end and stay.spec == last.spec and stay.is_launch_of(last):
            merged[-1] = _joined(last, stay)
            continue
        start = max(stay.start, last.end) if last else stay.start
        if start < stay.end:
            merged.append(replace(stay, start=start))
    return tuple(merged)


def attempts(events: Sequence[Event]) -> tuple[Attempt, ...]:
    """Every attempt at a trial, by start. A trial that starts again has left the place where it was."""
    closes = _session_closes(events)
    groups: dict[Hashable, list[TrialStart | TrialEnd]] = defaultdict(list)
    for event in events:
        if isinstance(event, TrialStart | TrialEnd):
            groups[event.session, event.stage, event.trial].append(event)
    found = [attempt for group in groups.values() for attempt in _attempts(group, closes[group[0].session])]
    return tuple(sorted(found, key=lambda one: (one.start, one.stage, one.trial, one.end, repr(one))))


def _session_closes(events: Iterable[Event]) -> dict[str, int]:
    """The time of the last event of each session."""
    closes: dict[str, int] = {}
    for event in events:
        if isinstance(event, SessionEvent):
            closes[event.session] = max(closes.get(event.session, 0), microseconds(event.time))
    return closes


def _identified(events: Sequence[NodeUp | NodeDown]) -> list[NodeUp | NodeDown]:
    """The events with what other rows know of a machine that one calls nobody's: it was that all along."""
    named: dict[str, list[NodeUp]] = defaultdict(list)
    for event in events:
        if isinstance(event, NodeUp) and event.lifecycle is not None:
            named[event.node].append(event)
    return [_with_identity(one, named[one.node]) if isinstance(one, NodeUp) else one for one in events]


def _with_identity(event: NodeUp, named: Sequence[NodeUp]) -> NodeUp:
    """Filled in from the next of `named`, oldest first, or else from the last."""
    if event.lifecycle is not None or not named:
        return event
    known = next((one for one in named if one.time >= event.time), named[-1])
    return replace(
        event,
        lifecycle=known.lifecycle,
        instance_type=event.instance_type or known.instance_type,
        zone=event.zone or known.zone,
        launched_at=known.launched_at if event.launched_at is None else event.launched_at,
    )


def _stays(group: Sequence[NodeUp | NodeDown], close: int, sweep_start: int) -> list[Presence]:
    """The stays of one node in one session, from its events in order."""
    stays: list[Presence] = []
    up: Presence | None = None
    stray: NodeDown | None = None
    for event in group:
        time = microseconds(event.time)
        if isinstance(event, NodeDown):
            if up:
                stays.append(replace(up, end=_paid_until(event), why=event.why))
            else:
                stray = event
            up = None
            continue
        seen = _seen(event, time, close, sweep_start)
        if up and up.spec == seen.spec and up.is_launch_of(seen):
            up = replace(up, start=min(up.start, seen.start), launched=_either(up.launched, seen.launched))
        elif up:
            stays.append(replace(up, end=time))
            up = replace(seen, start=time, launched=_either(seen.launched, up.launched))
        elif stray and stray.time == event.time:
            stays.append(replace(seen, end=_paid_until(stray), why=stray.why))
        else:
            up = seen
    return [*stays, up] if up else stays


def _paid_until(event: NodeDown) -> int:
    return microseconds(max(event.time, event.paid_until or 0.0))


def _seen(event: NodeUp, time: int, close: int, sweep_start: int) -> Presence:
    """The stay that a node_up begins, open to the end of its session."""
    spec = NodeSpec(event.kind, event.gpus, event.cpus, event.instance_type, event.zone, event.lifecycle)
    if event.launched_at is None:
        return Presence(event.node, time, close, spec, joined=time)
    launched = microseconds(event.launched_at)
    return Presence(event.node, min(time, max(launched, sweep_start)), close, spec, joined=time, launched=launched)


def _joined(first: Presence, second: Presence) -> Presence:
    """Two touching stays as one. At its end the word of the later counts; at a tie, one that costs more."""
    last = max(first, second, key=lambda stay: (stay.end, stay.why is not None, stay.why != "aws", stay.why or ""))
    return replace(
        first,
        end=last.end,
        joined=min(first.joined, second.joined),
        launched=_either(first.launched, second.launched),
        why=last.why,
    )


def _either(first: int | None, second: int | None) -> int | None:
    return second if first is None else first


def _attempts(group: Sequence[TrialStart | TrialEnd], close: int) -> list[Attempt]:
    """The attempts at one trial in one session, from its events in order."""
    found: list[Attempt] = []
    stray: TrialEnd | None = None
    for event in group:
        time = microseconds(event.time)
        if isinstance(event, TrialEnd):
            stray = None if _end(found, event) else event
            continue
        if found and found[-1].end > time:
            found[-1] = replace(found[-1], end=time)
        share = Fraction(Decimal(repr(event.share)))
        found.append(Attempt(event.stage, event.trial, event.variant, event.node, share, time, close))
        if stray and stray.time == event.time:
            _end(found, stray)
            stray = None
    return found


def _end(found: list[Attempt], event: TrialEnd) -> bool:
    """Write the end into the last attempt on its node; it may come after the trial has started elsewhere.

    A second end changes nothing, but for a verdict that came late: it bears the time of the end that it overrules.
    """
    last = next((i for i in reversed(range(len(found))) if found[i].node == event.node), None)
    if last is None:
        return False
    if found[last].status is not None:
        overruled = event.status == "killed" and microseconds(event.time) <= found[last].end
        found[last] = replace(found[last], killed_later=found[last].killed_later or overruled)
        return overruled
    useful, lost = (
        None if seconds is None else microseconds(seconds) for seconds in (event.useful_seconds, event.lost_seconds)
    )
    end = min(found[last].end, microseconds(event.time))
    found[last] = replace(found[last], end=end, status=event.status, useful=useful, lost=lost)
    return True
