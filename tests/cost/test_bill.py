"""Who pays for what: one bill worked out by hand to the cent, then each rule of the bill on its own."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from cost import ledger
from cost.bill import Bill, make_bill
from cost.summary import summarize

Row = dict[str, Any]
MARKET = {"instance_type": "g5.xlarge", "zone": "us-east-1a"}


def at(time: float, **fields: Any) -> Row:
    return {"time": float(time), "session": "s1", **fields}


def node_up(time: float, node: str = "n1", **fields: Any) -> Row:
    return ledger.node_up(**at(time, **{"node": node, "kind": "worker", "gpus": 1, "cpus": 4} | fields))


def node_down(time: float, node: str = "n1") -> Row:
    return ledger.node_down(**at(time, node=node, why="test"))


def start(time: float, trial: str = "emb35", share: float = 1.0, node: str = "n1", **fields: Any) -> Row:
    place = {"node": node, "stage": "ranking", "trial": trial, "variant": trial, "share": share}
    return ledger.trial_start(**at(time, **place | fields))


def end(time: float, status: str, trial: str = "emb35", node: str = "n1", **fields: Any) -> Row:
    return ledger.trial_end(**at(time, node=node, stage="ranking", trial=trial, status=status) | fields)


def beat(time: float, session: str = "s1") -> Row:
    return ledger.heartbeat(time=float(time), session=session)


def bill_of(*rows: Row, fixed: float | None = 3600.0) -> Bill:
    """At 3,600 dollars an hour a node-second costs a dollar."""
    return make_bill(ledger.parse(rows), fixed)


def seconds(bill: Bill) -> dict[str, Fraction]:
    """Node-seconds by use, and by `trial use` where several trials are involved."""
    totals: dict[str, Fraction] = {}
    several = len(bill.trials) > 1
    for charge in bill.charges:
        name = f"{charge.trial.trial} {charge.use}" if charge.trial and several else charge.use
        length = charge.amount.priced_seconds + charge.amount.unpriced_seconds
        totals[name] = totals.get(name, Fraction(0)) + length
    return totals


def test_a_bill_worked_out_by_hand() -> None:
    """Two trials share a spot node whose price halves; one is killed; then the driver dies without a word.

    Spot node n1, $1.20 an hour, from second 1,800 on $0.60; head h, $0.10, first sampled at second 100.
    The last heartbeat is at 3,900, which closes everything: both nodes cost 3,900 s.

        n1  1,800 s at 1.20 = 0.60,  2,100 s at 0.60 = 0.35          0.95
        h   3,900 s at 0.10                                          0.108333
                                                            total    1.058333 -> 1.06

        boot   0-600   n1, nobody yet              600 s at 1.20     0.20
        emb35  600-3,000 half of n1    600 s at 1.20, 600 at 0.60    0.20 + 0.10 = 0.30   finished: useful
        emb45  600-2,400 half of n1    600 s at 1.20, 300 at 0.60    0.20 + 0.05 = 0.25   killed
        seed0  3,000-3,900 half of n1              450 s at 0.60     0.075                cut off: useful
        idle   2,400-3,000 and 3,000-3,900 half    750 s at 0.60     0.125
        head   0-3,900 h                                             0.108333

    Whole cents for 30 + 25 + 7.5 + 12.5 + 20 + 10.8333 = 105.8333 -> 106: rounded down they make 104; the two
    cents left go to the largest remainders: head (.8333 -> 11), then the first of the equals (.5): seed0 -> 8,
    and idle stays 12. Nodes: 95 + 10.8333 -> 95 + 11.
    """
    rows = [
        ledger.session_start(**at(0)),
        node_up(0, **MARKET, lifecycle="spot"),
        node_up(0, "h", kind="head", gpus=0, instance_type="t3.large", zone="us-east-1a", lifecycle="on-demand"),
        ledger.price(time=0, usd_per_hour=1.2, **MARKET),
        ledger.price(time=1800, usd_per_hour=0.6, **MARKET),
        ledger.price(time=100, usd_per_hour=0.1, node="h"),
        start(600, "emb35", 0.5),
        start(600, "emb45", 0.5),
        end(2400, "killed", "emb45"),
        end(3000, "finished", "emb35"),
        start(3000, "seed0", 0.5, stage="finalists", variant="emb35"),
        beat(3900),
    ]
    summary = summarize(rows, budget_usd=50.0, now=4000.0, fixed_usd_per_hour=0.0)

    def cents(lines: list[Row], key: str) -> dict[str, int]:
        return {line[key]: round(100 * line["usd"]) for line in lines}

    uses = [{"use": use, **line} for use, line in summary["by_use"].items()]
    assert summary["total_usd"] == 1.06
    assert cents(summary["by_node"], "node") == {"n1": 95, "h": 11}
    assert cents(summary["by_trial"], "trial") == {"emb35": 30, "emb45": 25, "seed0": 8}
    assert cents(summary["by_stage"], "stage") == {"ranking": 55, "finalists": 8}
    assert cents(summary["by_variant"], "variant") == {"emb35": 38, "emb45": 25}
    used = {
        "useful": 38,
        "lost_to_preemption": 0,
        "killed_by_rule": 25,
        "failed": 0,
        "boot": 20,
        "idle": 12,
        "head": 11,
    }
    assert cents(uses, "use") == used
    assert {use["use"]: use["node_seconds"] for use in uses} == {
        **{"useful": 1650.0, "lost_to_preemption": 0.0, "killed_by_rule": 900.0, "failed": 0.0},
        **{"boot": 600.0, "idle": 750.0, "head": 3900.0},
    }
    assert (summary["node_hours"], summary["gpu_hours"], summary["cpu_hours"]) == (2.1667, 1.0833, 8.6667)


def test_a_laptop_starts_up_and_is_idle_between_trials_like_any_node() -> None:
    bill = bill_of(node_up(0, kind="head"), start(10), end(30, "finished"), beat(35))
    assert seconds(bill) == {"boot": 10, "useful": 20, "idle": 5}


@pytest.mark.parametrize(("kind", "use"), [("head", "head"), ("worker", "idle")])
def test_a_node_without_trials_is_idle_unless_it_is_the_head(kind: str, use: str) -> None:
    assert seconds(bill_of(node_up(0, kind=kind), beat(35))) == {use: 35}


def test_each_session_closes_at_its_own_last_event() -> None:
    later = {"session": "s2"}
    resumed = [node_up(100, **later), start(110, **later), end(130, "finished", **later), beat(140, "s2")]
    bill = bill_of(node_up(0), start(10), beat(50), *resumed)
    assert seconds(bill) == {"boot": 20, "useful": 60, "idle": 10}


def test_what_a_preemption_undid_is_lost_and_counted_from_the_loss_of_the_node() -> None:
    """The node is lost at 60, noticed at 75: the 20 s lost are the last before the loss."""
    resumed = [node_up(60, "n2"), start(80, node="n2"), end(90, "finished", node="n2"), node_down(90, "n2")]
    price = ledger.price(time=50, usd_per_hour=7200, node="n1")
    cheap = ledger.price(time=0, usd_per_hour=3600, node="n1")
    lost = end(75, "interrupted", lost_seconds=20)
    bill = bill_of(node_up(0), start(0), node_down(60), lost, price, cheap, *resumed)
    assert seconds(bill) == {"useful": 50, "lost_to_preemption": 20, "boot": 20}
    assert sum(charge.amount.usd for charge in bill.charges if charge.use == "lost_to_preemption") == 10 + 20


@pytest.mark.parametrize(
    ("status", "fields", "kept", "undone"),
    [
        ("interrupted", {}, 40, 0),
        ("interrupted", {"lost_seconds": 15}, 25, 15),
        ("interrupted", {"useful_seconds": 30}, 30, 10),
        ("interrupted", {"useful_seconds": 30, "lost_seconds": 4}, 36, 4),
        ("interrupted", {"lost_seconds": 1000}, 0, 40),
        ("failed", {}, 0, 40),
        ("failed", {"useful_seconds": 30}, 30, 10),
        ("finished", {"lost_seconds": 15}, 40, 0),
    ],
)
def test_an_attempt_is_split_into_what_was_kept_and_what_was_undone(
    status: str, fields: Row, kept: int, undone: int
) -> None:
    """The trial is taken up again and finishes, so whatever was kept was useful."""
    bill = bill_of(node_up(0), start(0), end(40, status, **fields), start(40), end(50, "finished"))
    expected = {"useful": kept + 10, "failed" if status == "failed" else "lost_to_preemption": undone}
    assert seconds(bill) == {use: length for use, length in expected.items() if length}


@pytest.mark.parametrize(
    ("status", "use"), [("killed", "killed_by_rule"), ("diverged", "failed"), ("failed", "failed")]
)
def test_a_trial_that_came_to_nothing_takes_its_earlier_attempts_with_it(status: str, use: str) -> None:
    bill = bill_of(node_up(0), start(0), end(40, "interrupted"), start(40), end(50, status))
    assert seconds(bill) == {use: 50}


def test_a_trial_that_starts_elsewhere_has_left_its_old_place_even_if_the_end_comes_late() -> None:
    late = end(55, "interrupted", lost_seconds=5)
    moved = [start(50, node="n2"), late, end(60, "killed", node="n2"), beat(70)]
    bill = bill_of(node_up(0), node_up(0, "n2"), start(0), *moved)
    assert seconds(bill) == {"killed_by_rule": 55, "lost_to_preemption": 5, "boot": 50, "idle": 30}


def test_a_session_without_a_trial_makes_no_head_of_a_machine_that_has_trials_in_another() -> None:
    """Stopped in its checks, and carried on: the machine was idle, as it would be between two trials."""
    own: dict[str, Any] = {"kind": "head", "gpus": 0, "cpus": 2}
    first = [node_up(0, **own), beat(20)]
    second = [{**row, "session": "s2"} for row in (node_up(100, **own), start(110), end(150, "finished"), beat(160))]
    assert seconds(bill_of(*first, *second)) == {"useful": 40, "boot": 10, "idle": 20 + 10}
    assert seconds(bill_of(*first)) == {"head": 20}


@pytest.mark.parametrize(("status", "use"), [("failed", "failed"), ("killed", "killed_by_rule")])
def test_a_trial_that_ends_at_once_has_ended_at_no_cost(status: str, use: str) -> None:
    bill = bill_of(node_up(0), start(0), end(10, "interrupted"), start(20), end(20, status), beat(30))
    assert seconds(bill) == {use: 10, "idle": 20}


@pytest.mark.parametrize("first", ["finished", "interrupted", "diverged"])
def test_a_verdict_with_the_time_of_an_end_overrules_it_and_leaves_what_was_lost(first: str) -> None:
    rows = [node_up(0), start(0), end(40, first, lost_seconds=5 if first == "interrupted" else None)]
    bill = bill_of(*rows, end(40, "killed"), beat(60))
    lost = {"lost_to_preemption": 5} if first == "interrupted" else {}
    assert seconds(bill) == {"killed_by_rule": 40 - sum(lost.values()), **lost, "idle": 20}


def test_shares_above_one_are_scaled_to_the_node() -> None:
    bill = bill_of(node_up(0), start(0, "a", 1.0), start(0, "b", 0.5), end(30, "finished", "b"), beat(60))
    assert seconds(bill) == {"a useful": 20 + 30, "b useful": 10}


@pytest.mark.parametrize("gpus", [1, 8])
@pytest.mark.parametrize(("second", "last"), [((40, 100), 100), ((20, 40), 60)])
def test_a_node_that_two_sessions_saw_is_paid_for_once(second: tuple[int, int], last: int, gpus: int) -> None:
    """Whether or not the second session, overlapping the first or within it, saw the same node."""
    again = [node_up(second[0], session="s2", gpus=gpus), beat(second[1], "s2")]
    assert seconds(bill_of(node_up(0), beat(60), *again)) == {"idle": last}


def test_a_node_that_went_as_it_came_costs_nothing() -> None:
    assert seconds(bill_of(node_up(10), node_down(10), beat(30))) == {}


def test_device_hours_follow_what_the_node_was_at_the_time() -> None:
    bill = bill_of(node_up(0, gpus=1, cpus=4), node_up(10, gpus=8, cpus=32), beat(30))
    assert (bill.gpu_seconds, bill.cpu_seconds) == (10 + 160, 40 + 640)


def test_a_price_applies_from_its_sample_on_and_the_first_before_it() -> None:
    prices = [ledger.price(time=time, usd_per_hour=usd, **MARKET) for time, usd in [(10, 3600), (20, 7200)]]
    bill = bill_of(node_up(0, **MARKET, lifecycle="spot"), beat(30), *prices)
    assert sum(charge.amount.usd for charge in bill.charges) == 10 + 10 + 20


def test_the_price_of_a_node_goes_before_that_of_its_market_and_other_markets_do_not_count() -> None:
    market = [ledger.price(time=0, usd_per_hour=7200, **MARKET)]
    elsewhere = ledger.price(time=0, usd_per_hour=9999, **MARKET | {"zone": "us-east-1b"})
    other = ledger.price(time=0, usd_per_hour=9999, node="n3", **MARKET)
    nodes = [node_up(0, "n1", **MARKET), node_up(0, "n2", **MARKET), beat(10)]
    bill = bill_of(*nodes, *market, elsewhere, other, ledger.price(time=5, usd_per_hour=3600, node="n2"))
    assert {charge.node: charge.amount.usd for charge in bill.charges} == {"n1": 20, "n2": 10}


@pytest.mark.parametrize(
    ("lifecycle", "fixed", "usd"),
    [(None, 0.0, 0), (None, 1800.0, 5), (None, None, None), ("spot", 0.0, None), ("on-demand", 1800.0, None)],
)
def test_a_price_that_nobody_knows_is_never_zero(lifecycle: str | None, fixed: float | None, usd: int | None) -> None:
    (charge,) = bill_of(node_up(0, lifecycle=lifecycle, **MARKET), beat(10), fixed=fixed).charges
    if usd is None:
        assert (charge.amount.priced_seconds, charge.amount.unpriced_seconds) == (0, 10)
    else:
        assert (charge.amount.usd, charge.amount.priced_seconds) == (usd, 10)


def test_a_trial_on_a_node_that_never_came_up_is_named() -> None:
    bill = bill_of(node_up(0), start(0, "a", node="ghost"), beat(10))
    assert [trial.trial for trial in bill.unplaced] == ["a"]
    assert seconds(bill) == {"idle": 10}


def test_a_trial_that_started_this_instant_is_not_misplaced() -> None:
    assert bill_of(node_up(10), start(10)).unplaced == ()
