"""AWS's rules: first hours that are free, the minute that is not, and what is paid while nobody is looking."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from cost import ledger, summarize
from cost.amounts import total_by
from cost.bill import Bill, make_bill

Row = dict[str, Any]
MARKET = {"instance_type": "g5.xlarge", "zone": "us-east-1a"}
DOLLAR_A_SECOND = ledger.price(time=0, usd_per_hour=3600, **MARKET)


def up(time: float, session: str = "s1", lifecycle: str | None = "spot", **fields: Any) -> Row:
    spec = {"node": "n", "kind": "worker", "gpus": 1, "cpus": 4, "lifecycle": lifecycle, **MARKET}
    return ledger.node_up(time=time, session=session, **spec | fields)


def down(time: float, why: str, session: str = "s1", **fields: Any) -> Row:
    return ledger.node_down(time=time, session=session, node="n", why=why, **fields)


def beat(time: float, session: str = "s1") -> Row:
    return ledger.heartbeat(time=time, session=session)


def bill_of(*rows: Row) -> Bill:
    return make_bill(ledger.parse([DOLLAR_A_SECOND, *rows]), 3600.0)


def dollars(*rows: Row) -> Fraction:
    return sum((charge.amount.usd for charge in bill_of(*rows).charges), Fraction(0))


def seconds(*rows: Row) -> dict[str, Fraction]:
    return {charge.use: charge.amount.seconds for charge in bill_of(*rows).charges}


@pytest.mark.parametrize(
    ("rows", "usd"),
    [
        ([up(0, launched_at=0.0), down(2400, "aws")], 0),
        ([up(0, launched_at=0.0), down(3599, "aws")], 0),
        ([up(0, launched_at=0.0), down(3600, "aws")], 3600),
        ([up(0), down(2400, "ours")], 2400),
        ([up(0), down(2400, "lost")], 2400),
        ([up(0), beat(2400)], 2400),
        ([up(0, lifecycle="on-demand"), down(2400, "aws")], 2400),
        ([up(0, lifecycle=None), down(2400, "aws")], 2400),
        # Nobody knows how long it had been up when it was first seen.
        ([up(0), down(1200, "aws")], 1200),
        # It had been up before it was seen.
        ([up(600, launched_at=0.0), down(3590, "aws")], 0),
        ([up(600, launched_at=0.0), down(3601, "aws")], 3601),
    ],
)
def test_only_a_spot_instance_that_aws_took_back_in_its_first_hour_is_free(rows: list[Row], usd: int) -> None:
    assert dollars(*rows) == usd


def test_a_machine_that_ray_left_before_its_deadline_is_paid_for_until_then() -> None:
    """A notice at 59:00; Ray leaves ten seconds later, EC2 takes the machine at 61:00."""
    left = [up(100, launched_at=0.0), down(3550, "drained", paid_until=3660.0), beat(3700)]
    assert dollars(*left) == 3660
    assert seconds(*left) == {"boot": 100, "idle": 3560}
    assert dollars(up(0, launched_at=0.0), down(3550, "aws", paid_until=3660.0)) == 3660  # taken after its first hour
    assert dollars(up(0, launched_at=0.0), down(3550, "aws", paid_until=3000.0)) == 0  # never before it was gone
    assert dollars(up(0), down(30, "drained", paid_until=150.0)) == 150


def test_the_hour_counts_from_the_launch_even_where_the_sweep_does_not_pay_from_then() -> None:
    late = ledger.session_start(time=1000, session="s1")
    assert dollars(late, up(1200, launched_at=0.0), down(3700, "aws")) == 2700
    assert dollars(late, up(1200, launched_at=500.0), down(3700, "aws")) == 0


def test_free_seconds_are_still_seconds() -> None:
    assert seconds(up(0, launched_at=0.0), down(2400, "aws")) == {"idle": 2400}


def test_a_second_start_has_an_hour_of_its_own() -> None:
    first = [up(0), down(4000, "ours")]
    assert dollars(*first, up(5000, launched_at=5000.0), down(6000, "aws")) == 4000
    restarted = [up(0, launched_at=0.0), beat(4000), up(5000, "s2", launched_at=4500.0), down(6000, "aws", "s2")]
    assert dollars(*restarted) == 4000
    unknown_first = [up(0), beat(4000), up(5000, "s2", launched_at=4500.0), down(6000, "aws", "s2")]
    assert dollars(*unknown_first) == 4000
    at_once = [up(0, launched_at=0.0), beat(1000), up(1000, "s2", launched_at=900.0), down(2000, "aws", "s2")]
    assert dollars(*at_once) == 1000


def test_a_driver_that_was_away_makes_no_instance_younger() -> None:
    seen_again = [up(0, launched_at=0.0), beat(1000), up(3000, "s2"), down(3700, "aws", "s2")]
    assert dollars(*seen_again) == 1000 + 700
    soon = [up(0, launched_at=0.0), beat(1000), up(3000, "s2"), down(3500, "aws", "s2")]
    assert dollars(*soon) == 0


def test_of_two_words_about_one_end_the_dearer_counts() -> None:
    for why in ("ours", "abandoned"):
        assert dollars(up(0, launched_at=0.0), up(0, "s2"), down(2400, "aws"), down(2400, why, "s2")) == 2400
    assert dollars(up(0, launched_at=0.0), up(0, "s2"), down(2400, "aws"), beat(2400, "s2")) == 0
    assert dollars(up(0, launched_at=0.0), up(0, "s2"), down(2400, "aws"), beat(2500, "s2")) == 2500


@pytest.mark.parametrize("lifecycle", ["spot", "on-demand"])
def test_a_start_costs_at_least_a_minute_once_its_end_is_known(lifecycle: str) -> None:
    rows = [up(0, lifecycle=lifecycle), down(10, "ours")]
    assert dollars(*rows) == 60
    charges = {charge.use: charge.amount for charge in bill_of(*rows).charges}
    assert (charges["idle"].usd, charges["boot"].usd, charges["boot"].seconds) == (10, 50, 0)
    assert dollars(up(0, lifecycle=lifecycle), beat(10)) == 10


def test_the_minute_is_neither_for_ones_own_machine_nor_after_aws_took_it() -> None:
    assert dollars(up(0, lifecycle=None), down(10, "ours")) == 10
    assert dollars(up(0, launched_at=0.0), down(10, "aws")) == 0
    assert dollars(up(50, launched_at=0.0), down(59, "ours")) == 60
    assert dollars(up(50, launched_at=0.0), down(61, "ours")) == 61


def test_dollars_without_time_are_printed_even_beside_time_without_a_price() -> None:
    unpriced = up(60, node="m", launched_at=0.0, zone="us-east-1b")
    rows = [DOLLAR_A_SECOND, up(0), down(10, "ours"), unpriced, beat(100)]
    boot = summarize(rows, budget_usd=None, now=0.0, fixed_usd_per_hour=None)["by_use"]["boot"]
    assert boot == {"usd": 50.0, "node_seconds": 60.0, "unpriced_node_seconds": 60.0}


def test_the_missing_seconds_have_the_price_of_their_own_time() -> None:
    later = ledger.price(time=30, usd_per_hour=7200, **MARKET)
    assert dollars(up(0), down(10, "ours"), later) == 30 + 2 * 30


def test_boot_lasts_from_the_launch_to_the_first_trial_or_until_the_node_joined() -> None:
    place = {"session": "s1", "node": "n", "stage": "r", "trial": "a"}
    trial = ledger.trial_start(time=300, **place, variant="a", share=1.0)
    launched = up(120, launched_at=0.0)
    assert seconds(launched, beat(400)) == {"boot": 120, "idle": 280}
    assert seconds(launched, trial, beat(400)) == {"boot": 300, "useful": 100}
    assert seconds(up(120, launched_at=0.0, kind="head"), beat(400)) == {"head": 400}


def test_time_before_the_sweep_is_not_the_sweeps() -> None:
    begin = [ledger.session_start(time=time, session=session) for time, session in ((100, "s1"), (900, "s2"))]
    assert seconds(*begin, up(120, launched_at=0.0), beat(400)) == {"boot": 20, "idle": 280}


def test_a_machine_that_ran_on_between_two_sessions_is_paid_for_in_between() -> None:
    rows = [up(0, launched_at=0.0), beat(100), up(500, "s2", launched_at=0.0), beat(700, "s2")]
    assert seconds(*rows) == {"idle": 700}
    assert seconds(*rows[:2], up(500, "s2", launched_at=400.0), beat(700, "s2")) == {"idle": 300, "boot": 100}


def test_what_is_found_out_of_a_machine_later_it_was_all_along() -> None:
    anonymous = {"lifecycle": None, "instance_type": None, "zone": None}
    late = [up(100, **anonymous), up(130, launched_at=50.0), beat(200)]
    assert dollars(*late) == 150
    (priced,) = bill_of(*late).stays
    assert (priced.stay.spec.lifecycle, priced.stay.joined) == ("spot", 100_000_000)
    in_the_next_session = [up(100, **anonymous), beat(200), up(300, "s2", launched_at=50.0), beat(400, "s2")]
    assert dollars(*in_the_next_session) == 350
    unheard_of_again = [up(100, launched_at=50.0), beat(200), up(300, "s2", **anonymous), beat(400, "s2")]
    assert dollars(*unheard_of_again) == 350


@pytest.mark.parametrize(
    ("lifecycle", "later", "warned"),
    [
        ("spot", [beat(3000, "s2")], True),  # gone before anybody looked again
        ("spot", [up(3000, "s2"), beat(4000, "s2")], False),
        ("spot", [], False),  # the last session: it may still be there
        (None, [beat(3000, "s2")], False),
    ],
)
def test_a_rented_machine_whose_end_nobody_saw_is_named(
    lifecycle: str | None, later: list[Row], warned: bool
) -> None:
    rows = [DOLLAR_A_SECOND, up(0, lifecycle=lifecycle), beat(1000), *later]
    warnings = summarize(rows, budget_usd=None, now=0.0, fixed_usd_per_hour=0.0)["warnings"]
    assert ("node n: its end was not seen; AWS may have billed it for longer" in warnings) == warned


def test_a_clock_that_is_behind_ec2s_makes_no_negative_time() -> None:
    assert seconds(up(100, launched_at=103.0), beat(200)) == {"idle": 100}


def test_an_end_that_was_found_out_later_closes_what_an_earlier_session_left_open() -> None:
    reconciled = [up(0, "s2", launched_at=0.0), down(300, "aws", "s2"), beat(900, "s2")]
    assert dollars(up(0, launched_at=0.0), beat(100), *reconciled) == 0
    assert seconds(up(0, launched_at=0.0), beat(100), *reconciled) == {"idle": 300}


def test_what_is_to_come_is_not_projected_from_a_free_hour() -> None:
    """5M tokens on a machine that was free, at a dollar a second for 1,000 s; 500M more would be 100,000."""
    about = {"session": "s1", "node": "n", "stage": "r", "trial": "a"}
    rows = [
        DOLLAR_A_SECOND,
        up(0, launched_at=0.0),
        ledger.trial_start(time=0, **about, variant="a", share=1.0),
        ledger.trial_end(time=1000, **about, status="interrupted"),
        down(1000, "aws"),
    ]
    name = ("r", "a")
    tokens, remaining = {name: 5_000_000}, {name: 500_000_000}
    summary = summarize(
        rows,
        budget_usd=None,
        now=0.0,
        fixed_usd_per_hour=None,
        tokens_by_trial=tokens,
        remaining_tokens_by_trial=remaining,
    )
    assert (summary["total_usd"], summary["projection"]["total_usd"]) == (0.0, 100_000.0)


def test_without_the_waiver_each_holder_pays_its_share_at_the_prices_in_force() -> None:
    """Free: a quarter for a, half for b, at a dollar a second, then two; paid for anyway: n2, and the minute of n3"""
    dearer = ledger.price(time=600, usd_per_hour=7200, **MARKET)
    starts = [
        ledger.trial_start(time=0, session="s1", node="n", stage="r", trial=name, variant=name, share=share)
        for name, share in (("a", 0.25), ("b", 0.5))
    ]
    others = [up(0, node="n2"), up(0, node="n3", launched_at=0.0), down(40, "ours") | {"node": "n3"}, beat(1000)]
    bill = bill_of(dearer, up(0, launched_at=0.0), *starts, down(1000, "aws"), *others)
    assert {charge.node for charge in bill.charges if charge.amount.usd} == {"n2", "n3"}
    paid = total_by(
        ((charge.node, charge.trial and charge.trial.trial), charge.amount) for charge in bill.unwaived().charges
    )
    usd = {holder: amount.usd for holder, amount in paid.items()}
    assert usd == {("n", "a"): 350, ("n", "b"): 700, ("n", None): 350, ("n2", None): 1400, ("n3", None): 60}


def test_a_free_hour_without_a_price_is_unknown_once_it_has_to_be_paid() -> None:
    bill = make_bill(ledger.parse([up(0, launched_at=0.0), down(1000, "aws")]), None)
    assert (bill.total.usd, bill.total.unpriced_seconds) == (0, 0)
    assert (bill.unwaived().total.usd, bill.unwaived().total.unpriced_seconds) == (0, 1000)
