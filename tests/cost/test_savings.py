"""Savings, each on its own line, and the projection: worked out by hand, null where a part is unknown."""

from __future__ import annotations

from typing import Any

import pytest

from cost import ledger, summarize

Row = dict[str, Any]
MARKET = {"instance_type": "t", "zone": "za"}
HOUR = 3600.0
A, B, C = ("r", "a"), ("r", "b"), ("r", "c")
TOKENS = {A: 4_000_000, B: 1_000_000}


def sweep(why: str = "ours", spot: float | None = 0.5, on_demand: float | None = 2.0) -> list[Row]:
    """Two spot hours: trial a finishes on the first, b is killed after half of the second, which ends idle."""
    place = {"session": "s", "node": "n"}
    spec = {"kind": "worker", "gpus": 1, "cpus": 4, "lifecycle": "spot", **MARKET}
    rows = [
        ledger.node_up(time=0, launched_at=0.0, **place, **spec),
        ledger.trial_start(time=0, **place, stage="r", trial="a", variant="a", share=1.0),
        ledger.trial_end(time=HOUR, **place, stage="r", trial="a", status="finished"),
        ledger.trial_start(time=HOUR, **place, stage="r", trial="b", variant="b", share=1.0),
        ledger.trial_end(time=1.5 * HOUR, **place, stage="r", trial="b", status="killed"),
        ledger.node_down(time=2 * HOUR, **place, why=why),
    ]
    if spot is not None:
        rows.append(ledger.price(time=0, usd_per_hour=spot, lifecycle="spot", **MARKET))
    if on_demand is not None:
        rows.append(ledger.price(time=0, usd_per_hour=on_demand, lifecycle="on-demand", **MARKET))
    return rows


def summary_of(rows: list[Row], **fields: Any) -> Row:
    fields = {"tokens_by_trial": TOKENS} | fields
    return summarize(rows, budget_usd=None, now=0.0, fixed_usd_per_hour=0.0, **fields)


def test_spot_is_compared_with_the_same_hours_on_demand() -> None:
    assert summary_of(sweep())["savings"]["spot_against_on_demand"] == {
        "usd": 3.0,
        "on_demand_usd": 4.0,
        "spot_usd": 1.0,
        "node_seconds": 2 * HOUR,
        "unpriced_node_seconds": 0.0,
    }


def test_hours_that_aws_waived_have_a_line_of_their_own() -> None:
    """The spot line stays as if they had been paid, so that both together are on-demand less what was paid."""
    young = [row | {"time": row["time"] / 3} if row["event"] != "price" else row for row in sweep("aws")]
    summary = summary_of(young)
    savings = summary["savings"]
    assert summary["total_usd"] == 0.0
    assert savings["spot_against_on_demand"]["usd"] == 1.0  # two thirds of an hour at 2.0 less 0.5
    assert savings["first_hour_free"] == {"usd": 0.33, "node_seconds": 2400.0, "unpriced_node_seconds": 0.0}


@pytest.mark.parametrize(("spot", "on_demand"), [(None, 2.0), (0.5, None)])
def test_without_both_prices_nothing_is_known_to_be_saved(spot: float | None, on_demand: float | None) -> None:
    line = summary_of(sweep(spot=spot, on_demand=on_demand))["savings"]["spot_against_on_demand"]
    assert (line["usd"], line["node_seconds"], line["unpriced_node_seconds"]) == (None, 0.0, 2 * HOUR)


def test_a_price_for_any_lifecycle_is_not_the_list_price() -> None:
    rows = [*sweep(on_demand=None), ledger.price(time=0, usd_per_hour=2.0, **MARKET)]
    assert summary_of(rows)["savings"]["spot_against_on_demand"]["usd"] is None


def test_dear_spot_is_said_to_be_dear() -> None:
    assert summary_of(sweep(spot=3.0))["savings"]["spot_against_on_demand"]["usd"] == -2.0


def test_a_killed_trial_saves_its_missing_tokens_at_its_own_rate() -> None:
    """b cost 0.25 for 1M tokens and had 9M to go; a finished and saves nothing."""
    kills = summary_of(sweep(), budget_tokens_by_trial={A: 4_000_000, B: 10_000_000})["savings"][
        "kill_rule_against_running_on"
    ]
    expected = {"stage": "r", "trial": "b", "tokens_not_trained": 9_000_000, "usd": 2.25}
    assert (kills["usd"], kills["by_trial"]) == (2.25, [expected])


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"budget_tokens_by_trial": {B: 9}, "tokens_by_trial": {}},
        {"budget_tokens_by_trial": {B: 9}, "tokens_by_trial": {B: 0}},
    ],
)
def test_what_a_kill_saved_is_null_without_both_counts(fields: Row) -> None:
    kills = summary_of(sweep(), **fields)["savings"]["kill_rule_against_running_on"]
    assert (kills["usd"], kills["by_trial"][0]["usd"]) == (None, None)


def test_what_the_known_kills_saved_is_told_beside_unknown_ones() -> None:
    place = {"session": "s", "node": "n", "stage": "r", "trial": "c"}
    rows = [
        *sweep(),
        ledger.trial_start(time=1.5 * HOUR, **place, variant="c", share=1.0),
        ledger.trial_end(time=1.6 * HOUR, **place, status="killed"),
    ]
    kills = summary_of(rows, budget_tokens_by_trial={B: 10_000_000})["savings"]["kill_rule_against_running_on"]
    assert (kills["usd"], [line["usd"] for line in kills["by_trial"]]) == (2.25, [2.25, None])


def test_without_a_price_no_kill_is_known_to_have_saved() -> None:
    savings = summary_of(sweep(spot=None), budget_tokens_by_trial={B: 10_000_000})["savings"]
    assert savings["kill_rule_against_running_on"]["usd"] is None


def test_a_sweep_without_spot_and_kills_saved_nothing_and_knows_it() -> None:
    savings = summary_of([])["savings"]
    assert [line["usd"] for line in savings.values()] == [0.0, 0.0, 0.0]


def test_the_rest_costs_what_its_trials_their_variants_or_all_have_cost_so_far_all_in() -> None:
    """a: 0.50 for 4M, b: 0.25 for 1M, both: 0.75 for 5M; a head doubles every dollar of the trials."""
    place = {"session": "s", "node": "n", "stage": "finalists", "trial": "b-seed1"}
    head = {"session": "s", "node": "h", "kind": "head", "gpus": 0, "cpus": 4}
    rows = [
        *sweep(),
        ledger.trial_start(time=1.5 * HOUR, **place, variant="b", share=1.0),  # 0.25 for who knows how many tokens
        ledger.node_up(time=0, **head),
        ledger.price(time=0, usd_per_hour=0.5, node="h"),
        ledger.heartbeat(time=2 * HOUR, session="s"),
    ]
    variants = {("finalists", f"b-seed{seed}"): "b" for seed in (1, 2)}  # the second has not begun
    remaining = dict.fromkeys([A, *variants, ("finalists", "who knows")], 3_000_000)
    projection = summary_of(rows, remaining_tokens_by_trial=remaining, remaining_variants=variants)["projection"]
    lines = {line["trial"]: line["usd"] for line in projection["by_trial"]}
    assert lines == {"a": 0.75, "b-seed1": 1.5, "b-seed2": 1.5, "who knows": 0.9}
    assert (projection["remaining_usd"], projection["total_usd"]) == (4.65, 6.65)
    assert projection["remaining_tokens"] == 12_000_000


@pytest.mark.parametrize(("fields", "spot"), [({"tokens_by_trial": {}}, 0.5), ({}, None)])
def test_the_rest_is_unknown_where_no_rate_is(fields: Row, spot: float | None) -> None:
    projection = summary_of(sweep(spot=spot), remaining_tokens_by_trial={C: 1}, **fields)["projection"]
    assert (projection["remaining_usd"], projection["total_usd"]) == (None, None)


def test_the_rest_is_unknown_while_a_part_of_the_bill_is() -> None:
    spec = {"kind": "worker", "gpus": 1, "cpus": 4, "lifecycle": "spot"}
    rows = [*sweep(), ledger.node_up(time=0, session="s", node="unpriced", **spec)]
    assert summary_of(rows, remaining_tokens_by_trial={A: 1_000_000})["projection"]["remaining_usd"] is None


@pytest.mark.parametrize("tokens", [3_500, 6_500])
def test_many_small_trials_to_come_are_neither_nothing_nor_twice_as_much(tokens: int) -> None:
    """A hundred of 0.35 or 0.65 cents each, of which each would be rounded to none or to one."""
    place = {"session": "s", "node": "n", "stage": "r", "trial": "a"}
    rows = [
        ledger.node_up(time=0, session="s", node="n", kind="head", gpus=0, cpus=2),
        ledger.trial_start(time=0, **place, variant="a", share=1.0),
        ledger.trial_end(time=HOUR, **place, status="finished"),
        ledger.heartbeat(time=HOUR, session="s"),
    ]
    remaining = {("r", f"t{number}"): tokens for number in range(100)}
    found = summarize(
        rows, budget_usd=50.0, now=0.0, fixed_usd_per_hour=1.0, tokens_by_trial={("r", "a"): 1_000_000},
        remaining_tokens_by_trial=remaining,
    )["projection"]  # fmt: skip
    assert found["remaining_usd"] == pytest.approx(100 * tokens / 1e6)
    assert sum(line["usd"] for line in found["by_trial"]) == pytest.approx(found["remaining_usd"])


def test_nothing_remaining_costs_nothing_and_nothing_said_projects_nothing() -> None:
    projection = summary_of(sweep(), remaining_tokens_by_trial={})["projection"]
    assert (projection["remaining_usd"], projection["total_usd"]) == (0.0, 1.0)
    assert summary_of(sweep())["projection"] is None
