"""The report's figures of money, drawn by `cost.figures` from events.jsonl and COST_SUMMARY.json.

Always holds: a figure is drawn only where money was spent or prices were sampled; on a machine that costs nothing
there is none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime

from matplotlib.figure import Figure

from cost.figures import Point, dollars_against_bpb, png, price_figure, spending_figure, svg
from cost.series import price_samples, spending
from paramalloc.files import atomic_write
from paramalloc.report.figures.style import Look
from paramalloc.report.load import Json, SweepResults
from paramalloc.report.variants import variant_results
from paramalloc.results import ResultsFolder

_SPENDING = "spending over time by use"
_PRICES = "prices as they were sampled"
_DOLLARS = "dollars spent in the ranking against bits per byte after it, for variants that finished it"


def draw_cost_figures(results: SweepResults, folder: ResultsFolder, appearance: Mapping[str, Look]) -> dict[str, str]:
    """Draw and write those there are data for; gives captions by name."""
    captions = {}
    for name, caption, figure in _figures(results, appearance):
        atomic_write(folder.figures / f"{name}.png", png(figure))
        atomic_write(folder.figures / f"{name}.svg", svg(figure))
        captions[name] = caption
    return captions


def _figures(results: SweepResults, appearance: Mapping[str, Look]) -> Iterator[tuple[str, str, Figure]]:
    cost = results.cost
    if cost is None:
        return
    markets = price_samples(results.events)
    if markets:
        until = datetime.fromisoformat(cost["billed_until"]).timestamp()
        yield "prices", _PRICES, price_figure(markets, until)
    if not cost["total_usd"]:
        return
    spent = spending(results.events, cost["fixed_usd_per_hour"])
    yield "spending", _SPENDING, spending_figure(spent, cost["budget_usd"])
    points = list(_points(results, cost, appearance))
    if len(points) > 1:
        yield "usd_vs_bpb", _DOLLARS, dollars_against_bpb(points)


def _points(results: SweepResults, cost: Json, appearance: Mapping[str, Look]) -> Iterator[Point]:
    """Scores after equal budgets only: finalists have trained longer, and a killed variant has none."""
    stages, lines_of = set(results.config.stage_names), defaultdict[str, list[Json]](list)
    for line in cost["by_trial"]:
        if line["stage"] in stages:
            lines_of[line["variant"]].append(line)
    for variant in variant_results(results):
        bpb = variant.ranking_score.get("dev_bpb")
        spent = [_usd(line) for line in lines_of[variant.name]]
        known = [usd for usd in spent if usd is not None]
        if bpb is not None and known and len(known) == len(spent):
            look = appearance[variant.name]
            yield Point(variant.name, sum(known), bpb, look.color, look.marker, variant.is_baseline)


def _usd(line: Json) -> float | None:
    """Of one trial, finer than cents where its tokens are known."""
    rate: float | None = line["usd_per_million_tokens"]
    return line["usd"] if rate is None else rate * line["tokens"] / 1e6
