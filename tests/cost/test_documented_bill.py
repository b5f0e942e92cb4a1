"""The bill worked out by hand in docs/cost.md: its tables are the ledger and the expectation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cost import ledger, summarize

Row = dict[str, Any]
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "cost.md"


def tables() -> dict[str, list[dict[str, str]]]:
    """Every table of the page, by its first two heads."""
    found: dict[str, list[dict[str, str]]] = {}
    heads: list[str] = []
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        if cells and not heads:
            heads = cells
            found[" ".join(heads[:2])] = []
        elif cells and not cells[0].startswith("---"):
            found[" ".join(heads[:2])].append(dict(zip(heads, cells, strict=True)))
        elif not cells:
            heads = []
    return found


def at(minute: str | int, **fields: Any) -> Row:
    return {"time": 60.0 * int(minute), "session": "s", **fields}


def ledger_of(page: dict[str, list[dict[str, str]]]) -> list[Row]:
    rows = [ledger.session_start(**at(0)), ledger.session_end(**at(180))]
    for node in page["node kind"]:
        market = {"instance_type": node["type"], "zone": node["zone"], "lifecycle": node["lifecycle"]}
        spec = {"node": node["node"], "kind": node["kind"], "gpus": int(node["kind"] == "worker"), "cpus": 4}
        rows.append(ledger.node_up(**at(node["joined"], launched_at=60.0 * int(node["launch"])), **spec, **market))
        rows.append(ledger.node_down(**at(node["end"], node=node["node"], why=node["why"])))
    for price in page["type lifecycle"]:
        market = {"instance_type": price["type"], "zone": price["zone"], "lifecycle": price["lifecycle"]}
        rows.append(ledger.price(time=60.0 * int(price["from"]), usd_per_hour=float(price["USD per hour"]), **market))
    for one in page["trial node"]:
        place = {"node": one["node"], "stage": "ranking", "trial": one["trial"]}
        rows.append(ledger.trial_start(**at(one["from"]), **place, variant=one["trial"], share=1.0))
        lost = {"status": one["status"], "lost_seconds": 60.0 * int(one["lost"])}
        rows.append(ledger.trial_end(**at(one["to"]), **place, **lost))
    return rows


@pytest.fixture(scope="module")
def page() -> dict[str, list[dict[str, str]]]:
    return tables()


@pytest.fixture(scope="module")
def summary(page: dict[str, list[dict[str, str]]]) -> Row:
    trials = page["trial node"]
    return summarize(
        ledger_of(page),
        budget_usd=50.0,
        now=0.0,
        fixed_usd_per_hour=None,
        tokens_by_trial={("ranking", one["trial"]): int(one["tokens so far"]) for one in trials},
        budget_tokens_by_trial={("ranking", one["trial"]): int(one["planned"]) for one in trials},
        remaining_tokens_by_trial={("finalists", "all"): 20_000_000},
    )


def test_the_total_is_that_of_the_page(summary: Row) -> None:
    assert f"Together 1.5396: **{summary['total_usd']} dollars**." in DOCUMENT.read_text()
    assert f"1.5396 / 12 = {summary['usd_per_million_tokens']:.4f} dollars" in DOCUMENT.read_text()
    assert {line["node"]: line["usd"] for line in summary["by_node"]} == {"h": 0.25, "a": 1.29, "b": 0.0}
    assert [line["node"] for line in summary["by_node"] if line["first_hour_free"]] == ["b"]


def test_every_trial_and_use_is_that_of_the_page(summary: Row, page: dict[str, list[dict[str, str]]]) -> None:
    lines = {line["trial"]: line for line in summary["by_trial"]} | summary["by_use"]
    assert len(page["to what how"]) == 6
    assert len(page["use USD"]) == len(summary["by_use"])
    for line in page["to what how"] + [{"to what": line["use"], **line} for line in page["use USD"]]:
        computed = lines[line["to what"]]
        assert (f"{computed['usd']:.2f}", computed["node_seconds"]) == (line["USD"], 60.0 * int(line["minutes"]))


def test_the_exact_amounts_of_the_page_sum_to_its_total(page: dict[str, list[dict[str, str]]]) -> None:
    assert sum(round(10_000 * float(line["exact"])) for line in page["to what how"]) == 15_396
    assert sum(round(100 * float(line["USD"])) for line in page["to what how"]) == 154
    assert sum(round(100 * float(line["USD"])) for line in page["use USD"]) == 154


def test_savings_and_projection_are_those_of_the_page(summary: Row, page: dict[str, list[dict[str, str]]]) -> None:
    expected = {line["line"]: float(line["USD"]) for line in page["line how"]}
    computed = {name: line["usd"] for name, line in summary["savings"].items()}
    assert computed | {"projection": summary["projection"]["total_usd"]} == expected
    spot = summary["savings"]["spot_against_on_demand"]
    assert (spot["on_demand_usd"], spot["spot_usd"]) == (3.69, 1.54)
    assert summary["projection"]["remaining_usd"] == 2.86  # (1.29 + 0.2533 + 0.2496 - 0.04 - 0.038) * 20 / 12


def test_had_we_ended_it_ourselves_its_forty_minutes_would_cost(page: dict[str, list[dict[str, str]]]) -> None:
    rows = [row | {"why": "ours"} if row["event"] == "node_down" else row for row in ledger_of(page)]
    summary = summarize(rows, budget_usd=None, now=0.0, fixed_usd_per_hour=None)
    assert summary["total_usd"] == 1.79  # 1.5396 + 0.2533
    assert summary["by_use"]["lost_to_preemption"]["usd"] == pytest.approx(4 / 60 * 0.38, abs=0.01)
