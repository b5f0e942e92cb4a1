"""Whatever happens, the bill adds up: random sweeps against a count second by second, and invariants."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from cost import ledger, summarize
from cost.bill import Bill, make_bill
from tests.cost.random_sweeps import HORIZON, LIFECYCLES, WHYS, Node, Row, Sweep, heartbeat, sweeps

EXAMPLES = settings(max_examples=250, deadline=None)


def summary_of(rows: list[Row], fixed: float | None) -> Row:
    return summarize(rows, budget_usd=5.0, now=1e6, fixed_usd_per_hour=fixed)


def price_at(sweep: Sweep, node: Node, second: int) -> Fraction | None:
    of_market = [row for row in sweep.prices if row["instance_type"] == node.market]
    samples = (
        [row for row in sweep.prices if row["node"] == node.name]
        or [row for row in of_market if row["lifecycle"] == node.lifecycle]
        or [row for row in of_market if row["lifecycle"] is None]
    )
    samples = [row for row in samples if not row["stale"]] or samples
    if not samples:
        known = sweep.fixed is not None and node.lifecycle is None
        return Fraction(str(sweep.fixed)) if known else None
    past = [row for row in samples if row["time"] <= second]
    pick = max(past, key=lambda row: row["time"]) if past else min(samples, key=lambda row: row["time"])
    return Fraction(str(pick["usd_per_hour"]))


def second_by_second(sweep: Sweep, waive: bool = True) -> dict[tuple[str, str | None, str], list[Fraction]]:
    """Dollars and node-seconds with a known price by (node, trial, use), every unit of every node counted.

    Without `waive` first hours that are free are counted at their price.
    """
    counted: dict[tuple[str, str | None, str], list[Fraction]] = {}
    for node in sweep.nodes:
        waived = node.waived(sweep.unit)
        for moment in range(node.since, node.until):
            usd = Fraction(0) if waived and waive else price_at(sweep, node, moment * sweep.unit)
            for trial, use, part in parts_at(sweep, node, moment):
                sums = counted.setdefault((node.name, trial, use), [Fraction(0)] * 2)
                if usd is not None:
                    length = part * sweep.unit
                    counted[node.name, trial, use] = [sums[0] + usd * length / 3600, sums[1] + length]
        if node.lifecycle and node.down is not None and not waived and sweep.unit == 1:
            for second in range(node.until, node.since + 60):
                if usd := price_at(sweep, node, second):
                    sums = counted.setdefault((node.name, None, "boot"), [Fraction(0)] * 2)
                    sums[0] += usd / 3600
    return counted


def parts_at(sweep: Sweep, node: Node, moment: int) -> list[tuple[str | None, str, Fraction]]:
    """Who held which part of a node, and to what use."""
    ends = {one.trial: one.outcome for one in sorted(sweep.tries, key=lambda one: one.start)}
    uses = {"killed": "killed_by_rule", "failed": "failed", "diverged": "failed"}
    here = [one for one in sweep.tries if one.node == node.name]
    holders = [one for one in here if one.start <= moment < one.end]
    held = sum(Fraction(str(one.share)) for one in holders)
    parts: list[tuple[str | None, str, Fraction]] = []
    for one in holders:
        undone = "lost_to_preemption" if one.status == "interrupted" else "failed"
        use = uses.get(ends[one.trial] or "", "useful") if moment < one.kept_until else undone
        parts.append((one.trial, use, Fraction(str(one.share)) / max(held, 1)))
    if held < 1:
        started = min((one.start for one in here), default=node.up)
        head = node.kind == "head" and not here
        parts.append((None, "head" if head else "boot" if moment < started else "idle", 1 - held))
    return parts


@EXAMPLES
@given(sweeps())
def test_the_bill_equals_a_count_second_by_second(sweep: Sweep) -> None:
    bill = make_bill(ledger.parse(sweep.rows()), sweep.fixed)
    assert charged(bill) == second_by_second(sweep)
    assert charged(bill.unwaived()) == second_by_second(sweep, waive=False)


def charged(bill: Bill) -> dict[tuple[str, str | None, str], list[Fraction]]:
    """Dollars and node-seconds with a known price by (node, trial, use)."""
    return {
        (charge.node, charge.trial and charge.trial.trial, charge.use): [
            charge.amount.usd,
            charge.amount.priced_seconds,
        ]
        for charge in bill.charges
    }


def split_rows(sweep: Sweep, what: Any, time: int) -> list[Row]:
    """The rows of a sweep in which a node's stay or an attempt at a trial ends at `time` and goes on at once."""
    if isinstance(what, Node):
        before, after = replace(what, down=time), replace(what, up=time)
        return replace(sweep, nodes=[*(node for node in sweep.nodes if node != what), before, after]).rows()
    kept = time <= what.kept_until
    status, undone = ("interrupted", 0) if kept else (what.status, time - what.kept_until)
    before, after = (
        replace(what, end=time, status=status, undone=undone, killed_later=False),
        replace(what, start=time),
    )
    return replace(sweep, tries=[*(one for one in sweep.tries if one != what), before, after]).rows()


@EXAMPLES
@given(sweeps(), st.data())
def test_splitting_an_interval_changes_nothing(sweep: Sweep, data: st.DataObject) -> None:
    """A node's stay, an attempt, the time between heartbeats or a price's time, cut in two anywhere."""
    spans = [(node, node.up, node.until) for node in sweep.nodes]
    spans += [(one, one.start, one.end) for one in sweep.tries]
    long = [(what, first, last) for what, first, last in spans if last - first > 1]
    whole = summary_of(sweep.rows(), sweep.fixed)
    if long:
        what, first, last = data.draw(st.sampled_from(long))
        time = data.draw(st.integers(first + 1, last - 1))
        assert summary_of(split_rows(sweep, what, time), sweep.fixed) == whole
    extra = [heartbeat(data.draw(st.integers(0, HORIZON * sweep.unit)))]
    if sweep.prices:
        # The price in force may be said again at any time before the next sample of the same thing.
        sample = data.draw(st.sampled_from(sweep.prices))
        same = [row["time"] for row in sweep.prices if {**row, **_moment(sample)} == sample]
        later = min((time for time in same if time > sample["time"]), default=HORIZON * sweep.unit + 1)
        extra.append(sample | {"time": float(data.draw(st.integers(int(sample["time"]), int(later) - 1)))})
    assert money(summary_of(sweep.rows() + extra, sweep.fixed)) == money(whole)


def _moment(sample: Row) -> Row:
    return {key: sample[key] for key in ("time", "usd_per_hour")}


def money(summary: Row) -> Row:
    """A summary without what it says about the samples themselves: how many there were, how old the last is."""
    nodes = [{key: value for key, value in line.items() if key != "usd_per_hour"} for line in summary["by_node"]]
    return summary | {"by_node": nodes, "warnings": None}


@EXAMPLES
@given(sweeps())
def test_the_first_hour_rule_never_makes_a_bill_larger(sweep: Sweep) -> None:
    ours = replace(sweep, nodes=[replace(node, why="ours") for node in sweep.nodes])
    with_rule, without = summary_of(sweep.rows(), sweep.fixed), summary_of(ours.rows(), sweep.fixed)
    assert cents([with_rule | {"usd": with_rule["total_usd"]}]) <= cents([without | {"usd": without["total_usd"]}])
    assert with_rule["node_seconds"] == without["node_seconds"]
    exact = [
        sum(charge.amount.usd for charge in make_bill(ledger.parse(one.rows()), sweep.fixed).charges)
        for one in (sweep, ours)
    ]
    assert exact[0] <= exact[1]


def any_rows() -> st.SearchStrategy[list[Row]]:
    """Events without rhyme or reason: ends without starts, overlaps, nodes that change, clocks apart."""
    moment = st.integers(0, 80).map(lambda quarter: quarter / 4)
    base = {"time": moment, "session": st.sampled_from(["s1", "s2"])}
    node, seconds = st.sampled_from(["n1", "n2"]), st.none() | st.floats(0, 30)
    trial = {"node": node, "stage": st.sampled_from(["x", "y"]), "trial": st.sampled_from(["a", "b"])}
    status = st.sampled_from(["finished", "killed", "diverged", "failed", "interrupted"])
    spec = {"kind": st.sampled_from(["head", "worker"]), "gpus": st.integers(0, 2), "cpus": st.integers(1, 4)}
    launch = {"launched_at": st.none() | moment, "lifecycle": LIFECYCLES}
    sample = {"lifecycle": LIFECYCLES, "stale": st.booleans(), "observed_at": st.none() | moment}
    kinds = [
        st.builds(ledger.session_start, **base) | st.builds(ledger.session_end, **base),
        st.builds(ledger.heartbeat, **base),
        st.builds(ledger.node_up, **base, node=node, **spec, **launch, instance_type=st.just("t"), zone=st.just("z")),
        st.builds(ledger.node_up, **base, node=node, **spec),
        st.builds(ledger.node_down, **base, node=node, why=WHYS, paid_until=st.none() | moment),
        st.builds(ledger.trial_start, **base, **trial, variant=trial["trial"], share=st.floats(0, 1)),
        st.builds(ledger.trial_end, **base, **trial, status=status, useful_seconds=seconds, lost_seconds=seconds),
        st.builds(ledger.price, time=moment, node=node, usd_per_hour=st.floats(0, 9999), **sample),
        st.builds(
            ledger.price,
            **{
                "time": moment,
                "instance_type": st.just("t"),
                "zone": st.just("z"),
                "usd_per_hour": st.floats(0, 9999),
            },
            **sample,
        ),
    ]
    return st.lists(st.one_of(kinds), max_size=18)


def cents(lines: Any) -> int:
    return sum(round(100 * (line["usd"] or 0)) for line in lines)


def milliseconds(lines: Any) -> int:
    return sum(round(1000 * line["node_seconds"]) for line in lines)


@EXAMPLES
@given(any_rows(), st.data())
def test_any_events_give_one_bill_that_adds_up(rows: list[Row], data: st.DataObject) -> None:
    summary = summary_of(rows, 0.25)
    repeated = data.draw(st.lists(st.sampled_from(rows), max_size=5)) if rows else []
    shuffled = data.draw(st.permutations([*rows, *repeated]))
    assert summary_of(shuffled, 0.25) == summary
    printed = json.loads(json.dumps(summary, allow_nan=False))
    rest = [printed["by_use"][use] for use in ("boot", "idle", "head")]
    for total in (cents, milliseconds):
        whole = total([printed | {"usd": printed["total_usd"]}])
        assert total(printed["by_node"]) == total(printed["by_use"].values()) == whole
        for cut in ("by_trial", "by_stage", "by_variant"):
            assert total([*printed[cut], *rest]) == whole
        for trial in printed["by_trial"]:
            assert total(trial["by_use"].values()) == total([trial])
    lines = [*printed["by_node"], *printed["by_use"].values(), *printed["by_trial"]]
    assert all((line["usd"] or 0) >= 0 <= line["unpriced_node_seconds"] <= line["node_seconds"] for line in lines)
