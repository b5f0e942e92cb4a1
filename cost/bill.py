"""From events to dollars: who held which part of which node, for how long, at which price, to what use.

Always holds: every microsecond of every node is charged exactly once, to a trial or to `idle` or
`overhead`; amounts are exact fractions, because a decimal would round at each division by 3,600 and the sum
would depend on how time is cut. Rounding to cents happens once, in `cost.rounding`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TypeVar

from cost.ledger import Event, Status
from cost.prices import PriceBook, PriceCurve
from cost.timeline import MICROSECONDS, Attempt, NodeSpec, Presence, attempts, presences

USEFUL, LOST, KILLED, FAILED = "useful", "lost_to_preemption", "killed_by_rule", "failed"
IDLE, OVERHEAD = "idle", "overhead"
TRIAL_USES = (USEFUL, LOST, KILLED, FAILED)
USES = (*TRIAL_USES, IDLE, OVERHEAD)

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class TrialId:
    stage: str
    trial: str
    variant: str


@dataclass(frozen=True)
class Amount:
    """Node-seconds (half a node for 60 s is 30) with a known price and without, and what the former cost."""

    usd: Fraction = Fraction(0)
    priced_seconds: Fraction = Fraction(0)
    unpriced_seconds: Fraction = Fraction(0)

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.usd + other.usd,
            self.priced_seconds + other.priced_seconds,
            self.unpriced_seconds + other.unpriced_seconds,
        )


@dataclass(frozen=True)
class Charge:
    """An amount and where it goes: `trial` is None for the uses `idle` and `overhead`."""

    node: str
    trial: TrialId | None
    use: str
    amount: Amount


@dataclass(frozen=True)
class Bill:
    """All charges, and what a reader of them wants to know.

    `trials`: every trial that held part of a node and its last known status, in order of first start;
    `nodes`: what every node was last, and its prices; `unplaced`: trials on nodes that no event says were up.
    """

    charges: tuple[Charge, ...]
    trials: dict[TrialId, Status | None]
    nodes: dict[str, tuple[NodeSpec, PriceCurve]]
    gpu_seconds: Fraction
    cpu_seconds: Fraction
    unplaced: tuple[TrialId, ...]


@dataclass(frozen=True)
class _Span:
    """A part of an attempt that went to one use (microseconds)."""

    trial: TrialId
    use: str
    share: Fraction
    start: int
    end: int


def make_bill(events: Sequence[Event], fixed_usd_per_hour: float | None) -> Bill:
    """The bill of what `ledger.parse` gives; the fixed price, None if unstated, is for one's own nodes."""
    stays, tries, book = presences(events), attempts(events), PriceBook(events, fixed_usd_per_hour)
    outcome = {(attempt.stage, attempt.trial): attempt.status for attempt in tries}
    curves = {stay: book.curve(stay.node, stay.spec) for stay in stays}
    spans: dict[str, list[_Span]] = {stay.node: [] for stay in stays}
    trials: dict[TrialId, Status | None] = {}
    unplaced: dict[TrialId, None] = {}
    for attempt in tries:
        trial = TrialId(attempt.stage, attempt.trial, attempt.variant)
        end = _last_instant(attempt, stays)
        if end is not None:
            trials[trial] = outcome[attempt.stage, attempt.trial]
            spans[attempt.node] += _spans(attempt, end, _main_use(trials[trial]))
        elif attempt.end > attempt.start:
            unplaced[trial] = None
    charges = (charge for stay in stays for charge in _charges(stay, spans[stay.node], curves[stay]))
    return Bill(
        charges=_merged(charges),
        trials=trials,
        nodes={stay.node: (stay.spec, curves[stay]) for stay in sorted(stays, key=lambda stay: stay.start)},
        gpu_seconds=sum((_device_seconds(stay, stay.spec.gpus) for stay in stays), Fraction(0)),
        cpu_seconds=sum((_device_seconds(stay, stay.spec.cpus) for stay in stays), Fraction(0)),
        unplaced=tuple(unplaced),
    )


def total_by(charges: Iterable[tuple[Key, Amount]]) -> dict[Key, Amount]:
    """The sum of the amounts of each key, keys in order of first appearance."""
    totals: dict[Key, Amount] = {}
    for key, amount in charges:
        totals[key] = totals.get(key, Amount()) + amount
    return totals


def _merged(charges: Iterable[Charge]) -> tuple[Charge, ...]:
    totals = total_by(((charge.node, charge.trial, charge.use), charge.amount) for charge in charges)
    return tuple(Charge(*key, amount) for key, amount in totals.items())


def _device_seconds(stay: Presence, devices: float) -> Fraction:
    return Fraction(stay.end - stay.start, MICROSECONDS) * Fraction(devices)


def _last_instant(attempt: Attempt, stays: Iterable[Presence]) -> int | None:
    """When the attempt ended or lost its node; None where it never had it. A loss is noticed late."""
    ends = [
        min(attempt.end, stay.end)
        for stay in stays
        if stay.node == attempt.node and stay.start < attempt.end and attempt.start < stay.end
    ]
    return max(ends, default=None)


def _main_use(outcome: Status | None) -> str:
    """What a trial's work was good for, by how the whole trial ended; one still going on counts as useful."""
    if outcome == "killed":
        return KILLED
    return FAILED if outcome in ("failed", "diverged") else USEFUL


def _spans(attempt: Attempt, end: int, main_use: str) -> list[_Span]:
    """The kept part of an attempt, and after it the part that a preemption or a failure undid."""
    kept_until = end
    if attempt.status in ("interrupted", "failed"):
        if attempt.lost is not None:
            kept_until = max(attempt.start, end - attempt.lost)
        elif attempt.useful is not None:
            kept_until = min(end, attempt.start + attempt.useful)
        elif attempt.status == "failed":
            kept_until = attempt.start
    undone_use = LOST if attempt.status == "interrupted" else FAILED
    trial = TrialId(attempt.stage, attempt.trial, attempt.variant)
    return [
        _Span(trial, main_use, attempt.share, attempt.start, kept_until),
        _Span(trial, undone_use, attempt.share, kept_until, end),
    ]


def _charges(stay: Presence, spans: Sequence[_Span], curve: PriceCurve) -> Iterator[Charge]:
    """Charge a stay in pieces, cut where a holder or the price changes; shares above 1 in all are scaled."""
    here = [span for span in spans if max(span.start, stay.start) < min(span.end, stay.end)]
    # Until its first trial a node starts up. Without any, a worker was idle; a head is there to serve.
    never = stay.end if stay.spec.kind == "head" else stay.start
    started = min((span.start for span in here), default=never)
    edges = {time for span in here for time in (span.start, span.end)} | set(curve.times)
    inside = sorted(time for time in edges if stay.start < time < stay.end)
    for start, end in pairwise([stay.start, *inside, stay.end]):
        holders = [span for span in here if span.start <= start and end <= span.end]
        held = sum((span.share for span in holders), Fraction(0))
        usd_per_hour = curve.at(start)
        for span in holders:
            part = _amount(end - start, span.share / max(held, Fraction(1)), usd_per_hour)
            yield Charge(stay.node, span.trial, span.use, part)
        if held < 1:
            use = OVERHEAD if start < started else IDLE
            yield Charge(stay.node, None, use, _amount(end - start, 1 - held, usd_per_hour))


def _amount(length: int, share: Fraction, usd_per_hour: Fraction | None) -> Amount:
    seconds = Fraction(length, MICROSECONDS) * share
    if usd_per_hour is None:
        return Amount(unpriced_seconds=seconds)
    return Amount(usd=seconds * usd_per_hour / 3600, priced_seconds=seconds)
