"""The report's section on money: the total, to what use, for which variant, what was saved, and at which prices.

Always holds: its figures are those of COST_SUMMARY.json, its prices and the budget's words those of events.jsonl; an
amount that is not known is a dash; where no machine costs anything, one sentence says so and the rest is time.
"""

from __future__ import annotations

from collections.abc import Iterable

from cost.report import is_free, projection_lines, saving_lines
from cost.series import Samples, price_samples
from paramalloc.formats import DASH, hours, listed, millions, percent, sentence, usd
from paramalloc.report.blocks import bullets, markdown_table
from paramalloc.report.load import Json, SweepResults

BUDGET_EVENTS = ("budget_warning", "budget_hold", "budget_stop")


def cost_section(results: SweepResults, gallery: str) -> list[str]:
    """Heading and blocks; before the first summary only a word that there is none."""
    cost = results.cost
    if cost is None:
        return ["## The bill", "COST_SUMMARY.json has not been written yet."]
    said = [*saving_lines(cost), *projection_lines(cost)]
    said += [row["text"] for row in results.events if row["event"] in BUDGET_EVENTS]
    said += [f"warning: {warning}" for warning in cost["warnings"]]
    return [
        "## The bill",
        _total(cost),
        _by_use(cost),
        _by_variant(cost),
        bullets(f"{line[0].upper()}{line[1:]}" for line in said),
        _prices(price_samples(results.events)),
        gallery,
    ]


def cost_in_short(results: SweepResults) -> list[str]:
    """Heading and a paragraph for the first page: the total, the largest uses of the time, and what was spared."""
    cost = results.cost
    if cost is None:
        return ["## Cost", "COST_SUMMARY.json has not been written yet."]
    uses = sorted(cost["by_use"].items(), key=lambda item: -item[1]["node_seconds"])
    shares = [f"{_amount(line, cost)[-1]} {use.replace('_', ' ')}" for use, line in uses if line["node_seconds"]]
    of_time = f"Of the node time: {listed(shares)}." if shares else ""
    said = [*saving_lines(cost), *(r["text"] for r in results.events if r["event"] in BUDGET_EVENTS)]
    return ["## Cost", " ".join([_total(cost), of_time, *map(sentence, said)])]


def _total(cost: Json) -> str:
    units = {"node": "node", "gpu": "GPU", "cpu": "CPU"}
    spent = listed([f"{cost[f'{key}_hours']:.2f} {unit}-hours" for key, unit in units.items()])
    if is_free(cost):
        return f"{spent} on machines that cost nothing (`cost.fixed_usd_per_hour` is 0)."
    total = f"Total {usd(cost['total_usd'])} of a budget of {usd(cost['budget_usd'])}: {spent}."
    if cost["usd_per_million_tokens"]:
        total += f" A million tokens cost ${cost['usd_per_million_tokens']:,.4f}, boot, idle and head included."
    if cost["unpriced_node_seconds"]:
        total += f" No price is known for {hours(cost['unpriced_node_seconds'])} of node time, which the total lacks."
    return total


def _by_use(cost: Json) -> str:
    rows = [[use.replace("_", " "), *_amount(line, cost)] for use, line in cost["by_use"].items()]
    return markdown_table(["use", *_amount_heads(cost)], rows, left=1)


def _by_variant(cost: Json) -> str:
    """A line for each variant, all its trials, checks and restarts together; boot, idle and head are in none."""
    rows = []
    for line in cost["by_variant"]:
        tokens = DASH if line["tokens"] is None else millions(line["tokens"])
        price = DASH if line["usd_per_million_tokens"] is None else f"${line['usd_per_million_tokens']:,.4f}"
        rows.append([line["variant"], *_amount(line, cost), tokens, *([] if is_free(cost) else [price])])
    heads = ["variant", *_amount_heads(cost), "tokens", *([] if is_free(cost) else ["USD per 1M tokens"])]
    return markdown_table(heads, rows, left=1) if rows else ""


def _amount_heads(cost: Json) -> list[str]:
    return ["node time", "of time"] if is_free(cost) else ["USD", "node time", "of time"]


def _amount(line: Json, cost: Json) -> list[str]:
    share = percent(line["node_seconds"] / cost["node_seconds"], 0) if cost["node_seconds"] else DASH
    time = [hours(line["node_seconds"]), share]
    return time if is_free(cost) else [usd(line["usd"]), *time]


def _prices(markets: Iterable[Samples]) -> str:
    """The samples of each market; nothing where no price was asked for."""
    rows = [
        [
            f"{market.lifecycle or 'any'} {market.instance_type}",
            market.zone,
            str(len(market.usd_per_hour)),
            *(f"{usd_per_hour:.4f}" for usd_per_hour in _low_high_last(market)),
        ]
        for market in markets
    ]
    heads = ["market", "zone", "samples", "least, USD per hour", "most", "last"]
    return markdown_table(heads, rows, left=2) if rows else ""


def _low_high_last(market: Samples) -> tuple[float, float, float]:
    return min(market.usd_per_hour), max(market.usd_per_hour), market.usd_per_hour[-1]
