"""The arithmetic that all benchmarks share: turns, medians, ratios, and how a figure is shown."""

from __future__ import annotations

import io
import json
from argparse import Namespace

import pytest
from rich.console import Console

from benchmarks.common import (
    argument_parser,
    in_turns,
    medians,
    print_figures,
    print_table,
    ratio_vs_best_peer,
    shown,
    spread,
)


def test_measures_take_turns_and_warm_ups_do_not_count() -> None:
    order: list[str] = []

    def measure(name: str) -> float:
        order.append(name)
        return float(len(order))

    samples = in_turns({name: lambda name=name: measure(name) for name in "abc"}, rounds=2, warmups=1)
    assert order == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]  # who comes first changes
    assert samples == {"a": [6.0, 8.0], "b": [4.0, 9.0], "c": [5.0, 7.0]}
    assert medians(samples) == {"a": 7.0, "b": 6.5, "c": 6.0}


def test_a_ratio_above_one_is_better_whether_much_or_little_is_wanted() -> None:
    assert ratio_vs_best_peer(300.0, [100.0, 200.0]) == 1.5
    assert ratio_vs_best_peer(2.0, [3.0, 8.0], higher_is_better=False) == 1.5
    assert ratio_vs_best_peer(2.0, []) is None


def test_spread_is_half_the_distance_between_quartiles_over_the_median() -> None:
    assert spread([10.0, 9.0, 8.0, 11.0, 12.0]) == pytest.approx(0.1)
    assert spread([5.0]) == 0.0


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (1234567, "1,234,567"), (1234.5, "1,234"), (0.012345, "0.0123"), ("x", "x")],  # noqa: RUF001
)
def test_figures_are_shown_short(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_table_shows_every_row() -> None:
    stream = io.StringIO()
    print_table(Console(file=stream, width=100), "Speed", ("loop", "tokens/s"), [("ours", 2000.0), ("plain", None)])
    assert all(text in stream.getvalue() for text in ("Speed", "tokens/s", "ours", "2,000", "plain"))


def test_json_is_the_last_line_and_only_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    print_figures("x", {"ratio_vs_best_peer": None}, Namespace(json=False, quick=True, threads=1))
    assert capsys.readouterr().out == ""
    print_figures("x", {"ratio_vs_best_peer": None}, Namespace(json=True, quick=True, threads=1))
    figures = json.loads(capsys.readouterr().out)
    assert figures["ratio_vs_best_peer"] is None
    assert figures["benchmark"] == "x"
    assert figures["machine"]["threads"] == 1


def test_options_default_to_a_full_run_on_every_core(capsys: pytest.CaptureFixture[str]) -> None:
    options = argument_parser("What it does.\n\nMore.").parse_args([])
    assert not options.quick
    assert not options.json
    assert options.threads >= 1
    with pytest.raises(SystemExit):
        argument_parser("").parse_args(["--threads", "0"])
    assert "0 is less than 1" in capsys.readouterr().err
