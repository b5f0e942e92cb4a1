"""The lines of a summary that tell of one node: what it is, how it ended, and what its hours cost.

Always holds: prices are those in force while the node was there, before AWS waived anything; the mean is over
time. An unknown price is null.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from cost.amounts import Amount
from cost.bill import Bill, PricedStay
from cost.rounding import MILLISECONDS, Units

Json = dict[str, Any]


def node_lines(bill: Bill, units: Mapping[str, Units]) -> list[Json]:
    """A line for every node, in order of arrival."""
    return [_line(node, stays, units[node]) for node, stays in bill.nodes.items()]


def node_warnings(bill: Bill, units: Mapping[str, Units], last_session: int) -> list[str]:
    """What a reader has to know about prices and ends before believing the total.

    `last_session`: when the last session began (microseconds); its machines may still be there.
    """
    warnings = []
    for node, stays in bill.nodes.items():
        last, unpriced = stays[-1], units[node].unpriced_ms
        if last.stay.why is None and last.stay.spec.lifecycle is not None and last.stay.end < last_session:
            warnings.append(f"node {node}: its end was not seen; AWS may have billed it for longer")
        if unpriced:
            seconds = f"{unpriced / MILLISECONDS:.0f} s"
            warnings.append(f"node {node}: no price is known for its {seconds}, not in the total")
        if last.curve.stale and not last.free:
            said_by = f" ({last.curve.said_by})" if last.curve.said_by else ""
            warnings.append(f"node {node}: its price is stale{said_by}, nobody could be asked of late")
    return warnings


def _line(node: str, stays: Sequence[PricedStay], units: Units) -> Json:
    last = stays[-1]
    spec = last.stay.spec
    return {
        "node": node,
        "kind": spec.kind,
        "instance_type": spec.instance_type,
        "zone": spec.zone,
        "lifecycle": spec.lifecycle,
        "gpus": spec.gpus,
        "cpus": spec.cpus,
        "ended": last.stay.why,
        "first_hour_free": last.free,
        "price": last.curve.source,
        "usd_per_hour": _usd_per_hour(stays),
        **units.json(),
    }


def _usd_per_hour(stays: Sequence[PricedStay]) -> Json:
    """Least, mean over time, most and last price while the node was there, and of how many samples."""
    curve = stays[-1].curve
    samples = {sample for one in stays if one.curve.source == "sampled" for sample in _samples(one)}
    pieces = [piece for one in stays for piece in one.curve.pieces(one.stay.start, one.stay.end)]
    known = [usd for _, _, usd in pieces if usd is not None]
    cost = sum((one.curve.cost(one.stay.start, one.stay.end) for one in stays), Amount())
    return {
        "min": _usd(min(known, default=None)),
        "mean": _usd(cost.usd * 3600 / cost.priced_seconds if cost.priced_seconds else None),
        "max": _usd(max(known, default=None)),
        "last": _usd(pieces[-1][2]),
        "samples": len(samples),
        "stale": curve.stale,
        "source": curve.said_by,
    }


def _samples(one: PricedStay) -> list[tuple[int, Fraction | None]]:
    """Time and price of the samples in force at some time of a stay."""
    first, last = one.curve.step(one.stay.start), one.curve.step(one.stay.end - 1)
    return list(zip(one.curve.times, one.curve.usd_per_hour, strict=True))[first : last + 1]


def _usd(exact: Fraction | None) -> float | None:
    return None if exact is None else round(float(exact), 6)
