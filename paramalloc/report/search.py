"""What a search has found: its points, the front that nothing beats in both aims, and how much it covers.

Always holds: all points are ranking runs, hence of one budget and one seed; less is better in both aims; a front is
one of measured values, and says nothing of what noise would make of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paramalloc.formats import listed
from paramalloc.proposals import Proposal, proposals_in
from paramalloc.report.figures.pareto import front
from paramalloc.report.load import Json, SweepResults
from paramalloc.report.variants import VariantResult
from paramalloc.sweep.runbook.selection import median_latency_ms

_KNOBS = {
    "embedding_ratio": "embedding share {:.0%} to {:.0%}",
    "glu_expansion": "SwiGLU expansion {:g} to {:g}",
    "vocab_size": "vocabulary {:,} to {:,}",
}


@dataclass(frozen=True)
class Found:
    """A variant that finished its ranking: what it scored and costs, and whether nothing beats it in both."""

    name: str
    plan: Json
    bpb: float
    latency_ms: float
    on_front: bool


def searched(variants: Sequence[VariantResult]) -> list[Found]:
    """Every variant with both values, in the order in which it was tried."""
    points: dict[str, tuple[float, float]] = {}
    for variant in variants:
        latency = median_latency_ms(variant.ranking_score) if variant.ranking_score else None
        if latency is not None:
            points[variant.name] = latency, variant.ranking_score["dev_bpb"]
    best = set(front(points))
    plans = {variant.name: variant.plan for variant in variants}
    return [Found(name, plans[name], bpb, latency, on_front=name in best) for name, (latency, bpb) in points.items()]


def hypervolume(found: Sequence[Found], of: Sequence[Found] | None = None) -> float | None:
    """The share of the box between the best and the worst values that the front of `found` dominates, 0 to 1.

    `of`: the points that span the box, default those found. None where they have no extent in one of the aims.
    """
    span = found if of is None else of
    slow, fast = (pick(item.latency_ms for item in span) for pick in (max, min))
    worst, best = (pick(item.bpb for item in span) for pick in (max, min))
    if slow == fast or worst == best:
        return None
    edges = sorted((item.latency_ms, item.bpb) for item in found)
    area, lowest = 0.0, worst
    for latency, bpb in edges:  # by rising latency; each better score adds a strip to the right of its point
        if bpb < lowest:
            area += (slow - latency) * (lowest - bpb)
            lowest = bpb
    return area / ((slow - fast) * (worst - best))


def rounds(results: SweepResults) -> list[tuple[int, list[str]]]:
    """After each round, from before the first: how many proposals there were, and the variants known by then."""
    proposals = list(proposals_in(results.decisions))
    numbers = [row["number"] for row in results.decisions if row["decision"] == "proposals"]
    given = [item["name"] for item in results.plan["variants"] if item["name"] not in {p.name for p in proposals}]
    return [
        (number, [*given, *(p.variant for p in proposals[:number] if p.variant)])
        for number in [*numbers, *([len(proposals)] if proposals else [])]
    ]


def fruitless(results: SweepResults) -> tuple[list[Proposal], list[Proposal]]:
    """Proposals without a shape, and those whose shape was there already."""
    proposals = proposals_in(results.decisions)
    return [p for p in proposals if p.made is None], [p for p in proposals if p.made is not None and p.same_as]


def searched_in_words(results: SweepResults) -> list[str]:
    """A sentence on what was searched and how; none without a search."""
    search = results.config.search
    if search is None:
        return []
    spans = [_KNOBS[name].format(*ends) for name, ends in search.ranges.items()]
    return [
        f"Optuna looked for few bits per byte at a low latency over {listed(spans)}, {search.at_once} proposals at a "
        "time, each made into the nearest shape of that total."
    ]


def shown_in_short(results: SweepResults, variants: list[VariantResult]) -> list[VariantResult]:
    """Those worth a line on the first page: all, or of a search the baseline, the front and the finalists."""
    if not results.config.search:
        return variants
    named = {item.name for item in searched(variants) if item.on_front}
    return [variant for variant in variants if variant.is_baseline or variant.finals or variant.name in named]
