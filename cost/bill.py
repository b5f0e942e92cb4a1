"""From events to dollars: who held which part of which node, for how long, at which price, to what use.

Always holds: every microsecond of every node is charged exactly once, to a trial or to `boot`, `idle` or
`head`; amounts are exact (`cost.amounts`), and rounded to cents only in `cost.rounding`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

from cost.amounts import MICROSECONDS, Amount, amount_of, exact_sum, total_by
from cost.ledger import Event, Status
from cost.prices import FREE, PriceBook, PriceCurve
from cost.rules import lives
from cost.timeline import Attempt, Presence, attempts, presences

USEFUL, LOST, KILLED, FAILED = "useful", "lost_to_preemption", "killed_by_rule", "failed"
BOOT, IDLE, HEAD = "boot", "idle", "head"
TRIAL_USES = (USEFUL, LOST, KILLED, FAILED)
OTHER_USES = (BOOT, IDLE, HEAD)  # of no trial
USES = (*TRIAL_USES, *OTHER_USES)


@dataclass(frozen=True)
class TrialId:
    stage: str
    trial: str
    variant: str


@dataclass(frozen=True)
class Charge:
    """An amount and where it goes: `trial` is None for the uses `boot`, `idle` and `head`."""

    node: str
    trial: TrialId | None
    use: str
    amount: Amount


@dataclass(frozen=True)
class Piece:
    """A charge of one stretch of time (microseconds), in which no holder changed."""

    start: int
    end: int
    charge: Charge


@dataclass(frozen=True)
class PricedStay:
    """A node's stay and what an hour of it costs: by the market, on demand, and whether AWS waives it."""

    stay: Presence
    curve: PriceCurve
    on_demand: PriceCurve
    free: bool

    @property
    def billed(self) -> PriceCurve:
        return FREE if self.free else self.curve


@dataclass(frozen=True)
class Bill:
    """All charges, and what a reader of them wants to know.

    `trials`: every trial that held part of a node and its last known status, in order of first start;
    `unplaced`: trials on nodes that no event says were up.
    """

    pieces: tuple[Piece, ...]
    trials: dict[TrialId, Status | None]
    stays: tuple[PricedStay, ...]
    unplaced: tuple[TrialId, ...]

    @cached_property
    def charges(self) -> tuple[Charge, ...]:
        """One charge for each node, trial and use."""
        parts = (piece.charge for piece in self.pieces)
        totals = total_by(((charge.node, charge.trial, charge.use), charge.amount) for charge in parts)
        return tuple(Charge(*key, amount) for key, amount in totals.items())

    @cached_property
    def by_trial_and_use(self) -> dict[tuple[TrialId | None, str], Amount]:
        return total_by(((charge.trial, charge.use), charge.amount) for charge in self.charges)

    @cached_property
    def by_trial(self) -> dict[TrialId | None, Amount]:
        return total_by((trial, amount) for (trial, _), amount in self.by_trial_and_use.items())

    @cached_property
    def total(self) -> Amount:
        return sum(self.by_trial.values(), Amount())

    def unwaived(self) -> Bill:
        """What it would be if AWS had waived no first hour, as it need not waive those to come."""
        free: dict[str, list[PricedStay]] = {}
        for priced in self.stays:
            if priced.free:
                free.setdefault(priced.stay.node, []).append(priced)
        if not free:
            return self
        pieces = tuple(_paid(piece, free.get(piece.charge.node, ())) for piece in self.pieces)
        return replace(self, pieces=pieces, stays=tuple(replace(priced, free=False) for priced in self.stays))

    @property
    def nodes(self) -> dict[str, list[PricedStay]]:
        """The stays of every node, nodes in order of their first."""
        nodes: dict[str, list[PricedStay]] = {}
        for priced in sorted(self.stays, key=lambda priced: priced.stay.start):
            nodes.setdefault(priced.stay.node, []).append(priced)
        return nodes

    @property
    def gpu_seconds(self) -> Fraction:
        return sum((_device_seconds(priced.stay, priced.stay.spec.gpus) for priced in self.stays), Fraction(0))

    @property
    def cpu_seconds(self) -> Fraction:
        return sum((_device_seconds(priced.stay, priced.stay.spec.cpus) for priced in self.stays), Fraction(0))


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
    stays, tries = presences(events), attempts(events)
    outcome = {(attempt.stage, attempt.trial): attempt.outcome for attempt in tries}
    by_node: dict[str, list[Presence]] = {}
    for stay in stays:
        by_node.setdefault(stay.node, []).append(stay)
    spans: dict[str, list[_Span]] = {node: [] for node in by_node}
    trials: dict[TrialId, Status | None] = {}
    unplaced: dict[TrialId, None] = {}
    for attempt in tries:
        trial = TrialId(attempt.stage, attempt.trial, attempt.variant)
        end = _last_instant(attempt, by_node.get(attempt.node, ()))
        if end is not None:
            trials[trial] = outcome[attempt.stage, attempt.trial]
            spans[attempt.node] += _spans(attempt, end, _main_use(trials[trial]))
        elif attempt.end > attempt.start:
            unplaced[trial] = None
    book = PriceBook(events, fixed_usd_per_hour)
    priced = tuple(_price(stays, book))
    pieces = [piece for one in priced for piece in _pieces(one, spans[one.stay.node])]
    return Bill((*pieces, *_minimums(stays, book)), trials, priced, tuple(unplaced))


def _price(stays: Sequence[Presence], book: PriceBook) -> Iterator[PricedStay]:
    for life in lives(stays):
        for stay in life.stays:
            curve, on_demand = book.curve(stay.node, stay.spec), book.on_demand(stay.spec)
            yield PricedStay(stay, curve, on_demand, life.is_free)


def _paid(piece: Piece, free: Iterable[PricedStay]) -> Piece:
    """The piece at the price of that one of its node's free stays in which it lies, if any."""
    priced = next((one for one in free if one.stay.start <= piece.start < one.stay.end), None)
    if priced is None or piece.start == piece.end:
        return piece
    share = piece.charge.amount.seconds * MICROSECONDS / (piece.end - piece.start)
    amount = priced.curve.cost(piece.start, piece.end) * share
    return replace(piece, charge=replace(piece.charge, amount=amount))


def _minimums(stays: Sequence[Presence], book: PriceBook) -> Iterator[Piece]:
    """What a start of less than a minute costs beyond its seconds: dollars without time."""
    for life in lives(stays):
        last = life.stays[-1]
        if usd := book.curve(last.node, last.spec).cost(life.end, life.minimum_until).usd:
            yield Piece(life.end, life.end, Charge(last.node, None, BOOT, Amount(usd=usd)))


def _device_seconds(stay: Presence, devices: float) -> Fraction:
    return Fraction(stay.end - stay.start, MICROSECONDS) * Fraction(devices)


def _last_instant(attempt: Attempt, stays: Iterable[Presence]) -> int | None:
    """When the attempt ended or lost its node, of which these are the stays; None where it never had it.

    A loss is noticed late.
    """
    ends = [min(attempt.end, stay.end) for stay in stays if stay.start < attempt.end and attempt.start < stay.end]
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


def _pieces(priced: PricedStay, spans: Sequence[_Span]) -> Iterator[Piece]:
    """Charge a stay in pieces, cut where a holder or the price changes; shares above 1 in all are scaled."""
    stay = priced.stay
    here = [span for span in spans if max(span.start, stay.start) < min(span.end, stay.end)]
    first_trial = min((span.start for span in here), default=None)
    serves = stay.spec.kind == "head" and not spans  # in no session was there a trial on it
    edges = {time for span in here for time in (span.start, span.end)} | {stay.joined}
    inside = {time for time in edges if stay.start < time < stay.end} | {*priced.billed.changes(stay.start, stay.end)}
    for start, end, holders in _held(here, [stay.start, *sorted(inside), stay.end]):
        held = exact_sum(span.share for span in holders)
        usd_per_hour = priced.billed.at(start)
        for span in holders:
            part = amount_of(end - start, span.share / held if held > 1 else span.share, usd_per_hour)
            yield Piece(start, end, Charge(stay.node, span.trial, span.use, part))
        if held < 1:
            rest = amount_of(end - start, 1 - held, usd_per_hour)
            use = HEAD if serves else _unheld_use(stay, first_trial, start)
            yield Piece(start, end, Charge(stay.node, None, use, rest))


def _held(spans: Sequence[_Span], edges: Sequence[int]) -> Iterator[tuple[int, int, list[_Span]]]:
    """From each edge to the next, the spans that hold a share then, in their order; they begin and end at edges."""
    later = sorted(range(len(spans)), key=lambda place: spans[place].start, reverse=True)
    holding: list[int] = []
    for start, end in pairwise(edges):
        while later and spans[later[-1]].start <= start:
            holding.append(later.pop())
        holding = sorted(place for place in holding if spans[place].end > start)
        yield start, end, [spans[place] for place in holding]


def _unheld_use(stay: Presence, first_trial: int | None, time: int) -> str:
    """A node starts up until its first trial; without any, until it joined."""
    return BOOT if time < (stay.joined if first_trial is None else first_trial) else IDLE
