"""COST_SUMMARY.json: rounding that adds up, null for what nobody knows, and a check that bites."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cost import ledger, summarize
from cost.invariants import UnbalancedBillError, check
from cost.rounding import apportion

Row = dict[str, Any]


def laptop(**node: Any) -> list[Row]:
    """An hour on one node: a quarter to start up, then two trials on a half each, one of them cut short."""
    place = {"session": "s1", "node": "n1"}
    trial = {**place, "stage": "ranking"}
    return [
        ledger.node_up(time=0, **place, **{"kind": "head", "gpus": 0, "cpus": 2} | node),
        ledger.trial_start(time=900, **trial, trial="a", variant="a", share=0.5),
        ledger.trial_start(time=900, **trial, trial="b", variant="b", share=0.5),
        ledger.trial_end(time=1800, **trial, trial="b", status="killed"),
        ledger.trial_end(time=3600, **trial, trial="a", status="finished"),
        ledger.session_end(time=3600, session="s1"),
    ]


TOKENS = {("ranking", "a"): 4_000_000, ("ranking", "b"): 1_000_000}


def summary_of(
    rows: list[Row],
    fixed: float | None = 1.0,
    tokens: dict[tuple[str, str], int] | None = None,
    remaining: dict[tuple[str, str], int] | None = None,
) -> Row:
    return summarize(
        rows,
        budget_usd=50.0,
        now=7200.0,
        fixed_usd_per_hour=fixed,
        tokens_by_trial=tokens,
        remaining_tokens_by_trial=remaining,
    )


def test_a_free_laptop_still_says_where_the_time_went() -> None:
    summary = summary_of(laptop(), fixed=0.0)
    assert summary["total_usd"] == 0.0
    assert (summary["node_hours"], summary["gpu_hours"], summary["cpu_hours"]) == (1.0, 0.0, 2.0)
    times = {use: line["node_seconds"] for use, line in summary["by_use"].items() if line["node_seconds"]}
    assert times == {"useful": 1350.0, "killed_by_rule": 450.0, "idle": 900.0, "boot": 900.0}
    assert summary["warnings"] == []


def test_the_summary_says_when_it_was_made_and_how_far_it_goes() -> None:
    summary = summary_of(laptop())
    assert (summary["generated_at"], summary["billed_until"]) == (
        "1970-01-01T02:00:00Z",
        "1970-01-01T01:00:00Z",
    )
    assert (summary["schema_version"], summary["currency"], summary["budget_usd"]) == (3, "USD", 50.0)


def test_an_empty_ledger_is_a_bill_of_nothing() -> None:
    summary = summary_of([])
    assert (summary["total_usd"], summary["node_seconds"], summary["by_node"]) == (0.0, 0.0, [])
    assert summary["billed_until"] is None


def test_a_total_without_any_price_is_null_and_says_so() -> None:
    summary = summary_of(laptop(lifecycle="spot"))
    assert summary["total_usd"] is None
    assert summary["by_use"]["useful"] == {
        "usd": None,
        "node_seconds": 1350.0,
        "unpriced_node_seconds": 1350.0,
    }
    assert summary["by_use"]["failed"]["usd"] == 0.0
    assert summary["warnings"] == ["node n1: no price is known for its 3600 s, not in the total"]


def test_a_total_with_part_of_the_prices_says_what_it_leaves_out() -> None:
    other = {"kind": "worker", "gpus": 1, "cpus": 4, "lifecycle": "spot"}
    rows = [*laptop(), ledger.node_up(time=600, session="s1", node="n2", **other)]
    summary = summary_of(rows)
    assert (summary["total_usd"], summary["unpriced_node_seconds"]) == (1.0, 3000.0)
    assert [line["usd"] for line in summary["by_node"]] == [1.0, None]


def test_the_price_of_tokens_is_that_of_the_whole_bill() -> None:
    summary = summary_of(laptop(), tokens=TOKENS)
    assert summary["usd_per_million_tokens"] == 0.2
    assert [line["usd_per_million_tokens"] for line in summary["by_trial"]] == [0.09375, 0.125]


def test_the_price_of_a_variants_tokens_is_that_of_its_exact_amount_however_small() -> None:
    """Two trials of 0.4 cents each print 0 or 1 cent; a million tokens of theirs cost 40 cents all the same."""
    place = {"session": "s1", "node": "n1", "stage": "ranking", "variant": "small", "share": 1.0}
    node = {"kind": "worker", "gpus": 0, "cpus": 1, "lifecycle": None}
    rows: list[Row] = [ledger.node_up(time=0, session="s1", node="n1", **node)]
    for number, start in enumerate((0.0, 14.4)):
        rows.append(ledger.trial_start(time=start, trial=f"t{number}", **place))
        ended = {key: place[key] for key in ("session", "node", "stage")}
        rows.append(ledger.trial_end(time=start + 14.4, trial=f"t{number}", **ended, status="finished"))
    tokens = {("ranking", "t0"): 10_000, ("ranking", "t1"): 10_000}
    (line,) = summary_of(rows, tokens=tokens)["by_variant"]
    assert (line["tokens"], line["usd_per_million_tokens"]) == (20_000, 0.4)
    (line,) = summary_of(rows, tokens={("ranking", "t0"): 10_000})["by_variant"]
    assert (line["tokens"], line["usd_per_million_tokens"]) == (None, None)


@pytest.mark.parametrize(
    ("tokens", "node"),
    [
        (None, {}),
        ({("ranking", "a"): 4_000_000}, {}),
        ({("ranking", "a"): 0, ("ranking", "b"): 0}, {}),
        (TOKENS, {"lifecycle": "spot"}),
    ],
)
def test_the_price_of_tokens_is_null_where_a_part_is_unknown(tokens: Any, node: Row) -> None:
    assert summary_of(laptop(**node), tokens=tokens)["usd_per_million_tokens"] is None


def _spend(summary: Row) -> None:
    summary["total_usd"] += 0.01


def _idle(summary: Row) -> None:
    summary["by_use"]["idle"]["usd"] += 0.01


def _lose_a_millisecond(summary: Row) -> None:
    summary["by_trial"][0]["node_seconds"] -= 0.001


def _forget_a_stage(summary: Row) -> None:
    summary["by_stage"] = []


def _swap_variants(summary: Row) -> None:
    first, second = summary["by_variant"]
    first["variant"], second["variant"] = second["variant"], first["variant"]


def _spend_within_a_trial(summary: Row) -> None:
    summary["by_trial"][0]["by_use"]["useful"]["usd"] += 0.01


def _swap_uses(summary: Row) -> None:
    uses = summary["by_use"]
    uses["useful"], uses["killed_by_rule"] = uses["killed_by_rule"], uses["useful"]


def _save_more(summary: Row) -> None:
    summary["savings"]["spot_against_on_demand"]["usd"] += 0.01


def _save_by_no_kill(summary: Row) -> None:
    summary["savings"]["kill_rule_against_running_on"]["usd"] = 1.0


def _save_less_than_nothing(summary: Row) -> None:
    summary["savings"]["first_hour_free"]["usd"] = -1.0


def _project_more(summary: Row) -> None:
    summary["projection"]["total_usd"] += 0.01


def _forget_what_remains(summary: Row) -> None:
    summary["projection"]["by_trial"].pop()


def _pay_back(summary: Row) -> None:
    summary["by_use"]["failed"]["usd"] = -1.0
    summary["by_use"]["lost_to_preemption"]["usd"] = 1.0


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (_spend, "the nodes"),
        (_idle, "the uses:"),
        (_lose_a_millisecond, "trials, boot, idle and head"),
        (_forget_a_stage, "the lines by stage"),
        (_swap_variants, "the trials of variant"),
        (_spend_within_a_trial, "the uses of trial"),
        (_swap_uses, "the trials' useful"),
        (_pay_back, "negative"),
        (_save_more, "on demand less spot"),
        (_save_by_no_kill, "the killed trials"),
        (_save_less_than_nothing, "a negative saving"),
        (_project_more, "total and remaining trials"),
        (_forget_what_remains, "the remaining tokens"),
    ],
)
def test_the_check_finds_every_contradiction(spoil: Callable[[Row], None], found: str) -> None:
    summary = summary_of(laptop(), tokens=TOKENS, remaining={("finalists", "a"): 1_000_000})
    check(summary)
    spoil(summary)
    with pytest.raises(UnbalancedBillError, match=found):
        check(summary)


@given(st.lists(st.fractions(0, 1000, max_denominator=1000), min_size=1, max_size=8), st.booleans())
def test_apportioned_parts_sum_to_the_total_and_stay_beside_the_exact_ones(exact: list[Fraction], up: bool) -> None:
    parts = dict(enumerate(exact))
    total = int(sum(exact)) if not up else -int(-sum(exact) // 1)
    whole = apportion(parts, total)
    assert sum(whole.values()) == total
    assert all(abs(whole[key] - parts[key]) < 1 for key in parts)


def test_the_largest_remainders_are_rounded_up_and_the_first_of_equals() -> None:
    parts = {"a": Fraction(5, 2), "b": Fraction(5, 2), "c": Fraction(19, 10)}
    assert apportion(parts, 7) == {"a": 3, "b": 2, "c": 2}
    assert apportion(parts, 6) == {"a": 2, "b": 2, "c": 2}
