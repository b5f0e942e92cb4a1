"""Series, figures and badges: the drawn numbers are the bill's, files are whole, badges are text."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cost import ledger, summarize
from cost.badges import badge, cost_badge, progress_badge
from cost.bill import USES, make_bill
from cost.figures import Point, dollars_against_bpb, png, price_figure, spending_figure, svg
from cost.series import Spending, price_samples, spending

Row = dict[str, Any]
MARKET = {"instance_type": "g5.xlarge", "zone": "us-east-1a"}
HOUR = 3600.0


def rows() -> list[Row]:
    """A spot node whose price doubles after an hour; its trial is killed after two; then half a minute of another."""
    place = {"session": "s", "node": "n"}
    spec = {"kind": "worker", "gpus": 1, "cpus": 4, "lifecycle": "spot", **MARKET}
    trial = {**place, "stage": "r", "trial": "a"}
    other = {"session": "s", "node": "m"}
    return [
        ledger.node_up(time=HOUR / 2, launched_at=0.0, **place, **spec),
        ledger.trial_start(time=HOUR / 2, **trial, variant="a", share=1.0),
        ledger.trial_end(time=2 * HOUR, **trial, status="killed"),
        ledger.node_up(time=2 * HOUR, **other, **spec),
        ledger.node_down(time=2 * HOUR + 30, **other, why="ours"),
        ledger.heartbeat(time=3 * HOUR, session="s"),
        ledger.price(time=0, usd_per_hour=0.5, lifecycle="spot", **MARKET),
        ledger.price(time=HOUR, usd_per_hour=1.0, lifecycle="spot", **MARKET),
        ledger.price(time=HOUR, usd_per_hour=9.0, lifecycle="spot", stale=True, **MARKET),
        ledger.price(time=0, usd_per_hour=2.0, lifecycle="on-demand", **MARKET),
    ]


def test_spending_grows_along_straight_lines_to_the_bill() -> None:
    spent = spending(rows(), None)
    at = dict(zip(spent.times, zip(*spent.usd_by_use.values(), strict=True), strict=True))
    by_hour = {hour: dict(zip(USES, at[hour * HOUR], strict=True)) for hour in (0, 0.5, 1, 2, 3)}
    assert by_hour[0.5] == pytest.approx(dict.fromkeys(USES, 0.0) | {"boot": 0.25})
    assert by_hour[1] == pytest.approx(dict.fromkeys(USES, 0.0) | {"boot": 0.25, "killed_by_rule": 0.25})
    assert by_hour[2]["killed_by_rule"] == pytest.approx(1.25)
    # The other node's minimum of a minute: thirty idle seconds and as much at once.
    assert by_hour[3]["boot"] == pytest.approx(0.25 + 30 / 3600)
    assert by_hour[3]["idle"] == pytest.approx(1.0 + 30 / 3600)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.1, 5000), min_size=1, max_size=6), st.sampled_from(["ours", "aws"]))
def test_spending_never_falls_and_ends_at_the_bill(lengths: list[float], why: str) -> None:
    spec = {"kind": "worker", "gpus": 1, "cpus": 4, "lifecycle": "spot", **MARKET}
    events = [ledger.price(time=0, usd_per_hour=1.5, **MARKET)]
    for rank, length in enumerate(lengths):
        place = {"session": "s", "node": f"n{rank}"}
        events += [
            ledger.node_up(time=10.0 * rank, **place, **spec),
            ledger.node_down(time=10.0 * rank + length, **place, why=why),
        ]
    spent = spending(events, None)
    for use in USES:
        assert all(before <= after for before, after in pairwise(spent.usd_by_use[use]))
    total = sum(charge.amount.usd for charge in make_bill(ledger.parse(events), None).charges)
    assert sum(usd[-1] for usd in spent.usd_by_use.values()) == pytest.approx(float(total))


def test_price_samples_are_the_true_ones_of_each_market() -> None:
    listed, spot = price_samples(rows())
    assert (listed.lifecycle, listed.usd_per_hour) == ("on-demand", (2.0,))
    assert (spot.zone, spot.times, spot.usd_per_hour) == ("us-east-1a", (0.0, HOUR), (0.5, 1.0))


def test_figures_show_their_data_and_the_same_data_give_the_same_bytes() -> None:
    def drawn() -> list[Any]:
        return [
            spending_figure(spending(rows(), None), 3.0),
            price_figure(price_samples(rows()), 3 * HOUR),
            dollars_against_bpb([Point("emb35", 1.2, 1.31), Point("emb45", 0.9, 1.29)]),
        ]

    spent, prices, dollars = drawn()
    assert [text.get_text() for text in spent.legends[0].get_texts()] == ["killed by rule", "boot", "idle", "budget"]
    assert tuple(prices.axes[0].lines[-1].get_xydata()[-1]) == (3.0, 1.0)
    cut_short = price_figure(price_samples(rows()), HOUR / 2).axes[0].lines[-1]
    assert cut_short.get_xydata().tolist() == [[0.0, 0.5], [0.5, 0.5]]
    assert {note.get_text() for note in dollars.axes[0].texts} == {"emb35", "emb45"}
    for figure, again in zip((spent, prices, dollars), drawn(), strict=True):
        assert figure.axes[0].get_xlabel()
        assert "USD" in figure.axes[0].get_xlabel() + figure.axes[0].get_ylabel()
        assert svg(figure) == svg(again)
        assert png(figure).startswith(b"\x89PNG")


def test_of_many_variants_the_best_have_names_and_the_others_are_points() -> None:
    many = [Point(f"v{n:02}", 1.0 + n, 1.5 - n / 100, is_baseline=not n) for n in range(20)]
    (axes,) = dollars_against_bpb(many).axes
    assert {note.get_text() for note in axes.texts} == {"v00", *(f"v{n:02}" for n in range(9, 20))}
    crowd = axes.lines[0].get_xydata().tolist()
    assert crowd == [[point.usd, point.bpb] for point in many[1:9]]


def test_a_budget_far_away_is_named_instead_of_drawn() -> None:
    (axes,) = spending_figure(spending(rows(), None), 500.0).axes
    assert axes.get_title(loc="right") == "budget $500.00, beyond this scale"
    assert axes.get_ylim()[1] < 10


def test_nothing_to_draw_is_an_empty_figure() -> None:
    for figure in (
        spending_figure(Spending((), dict.fromkeys(USES, ())), 5.0),
        price_figure([], 0.0),
        dollars_against_bpb([]),
    ):
        assert png(figure).startswith(b"\x89PNG")


def test_matplotlib_is_only_imported_to_draw() -> None:
    code = "import sys, cost.figures, cost.series, cost.badges; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def words(text: str) -> str:
    root = ET.fromstring(text)
    return "|".join(node.text or "" for node in root.iter("{http://www.w3.org/2000/svg}text"))


def test_the_cost_badge_tells_total_and_budget() -> None:
    summary = summarize(rows(), budget_usd=3.0, now=0.0, fixed_usd_per_hour=None)
    assert words(cost_badge(summary)) == "cost|$2.52 of $3.00"
    assert words(cost_badge(summary | {"budget_usd": None})) == "cost|$2.52"
    assert words(cost_badge(summary | {"unpriced_node_seconds": 9.0})) == "cost|at least $2.52 of $3.00"
    assert words(cost_badge(summary | {"total_usd": None})) == "cost|unknown"
    colours = [cost_badge(summary | {"budget_usd": budget}) for budget in (2.0, 3.0, 4.0)]
    assert len({text.split("fill=")[2] for text in colours}) == 3


@pytest.mark.parametrize(
    ("done", "total", "text"), [(0, 10, "0%"), (999, 1000, "99%"), (10, 10, "100%"), (11, 10, "100%"), (0, 0, "100%")]
)
def test_the_progress_badge_says_100_only_when_all_is_done(done: int, total: int, text: str) -> None:
    assert words(progress_badge(done, total)) == f"progress|{text}"


def test_any_words_make_a_readable_badge() -> None:
    text = badge('a<b>&"c"', "100%", "#0067a3")
    assert words(text) == 'a<b>&"c"|100%'
    assert ET.fromstring(text).get("aria-label") == 'a<b>&"c": 100%'


@pytest.mark.parametrize("share", [0.1, 0.9, 1.0])
def test_white_words_stand_out_on_every_badge(share: float) -> None:
    """WCAG 2.1: a contrast ratio of at least 4.5 to 1."""
    summary = summarize([], budget_usd=10.0, now=0.0, fixed_usd_per_hour=None) | {"total_usd": 10 * share}
    for text in (cost_badge(summary), progress_badge(int(10 * share), 10)):
        fields = [node.get("fill") for node in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}rect")]
        for fill in filter(None, fields):
            channels = [int(fill[i : i + 2], 16) / 255 for i in (1, 3, 5)]
            linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
            luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
            assert 1.05 / (luminance + 0.05) >= 4.5
