"""`python -m cost report`: the bill on a terminal, mistakes in one line, nothing heavy imported."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cost import ledger, summarize
from cost.__main__ import main
from cost.report import saving_lines

NOW = 5000.0


def rows() -> list[dict[str, Any]]:
    place = {"session": "s1", "node": "laptop"}
    trial = {**place, "stage": "ranking", "trial": "emb35", "variant": "emb35"}
    return [
        ledger.node_up(time=0, **place, kind="head", gpus=0, cpus=2),
        ledger.trial_start(time=1800, **trial, share=1.0),
        ledger.heartbeat(time=3600, session="s1"),
    ]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The results folder of a sweep that is still running, at 50 cents an hour."""
    folder = tmp_path / "my[bold]sweep"
    folder.mkdir()
    (folder / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    (folder / "COST_SUMMARY.json").write_text(json.dumps(earlier_summary()))
    return folder


def earlier_summary() -> dict[str, Any]:
    tokens = {("ranking", "emb35"): 2_000_000}
    return summarize(
        [*rows()[:2], ledger.heartbeat(time=2700, session="s1")],
        budget_usd=2.0,
        now=2700.0,
        fixed_usd_per_hour=0.5,
        tokens_by_trial=tokens,
    )


def test_the_report_is_worked_out_afresh_with_the_settings_of_the_sweep(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(results)], NOW) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "Cost of my[bold]sweep: $0.50 of a $2.00 budget (25%), $0.2500 per 1M tokens"
    assert shown[1] == "1.00 node-hours, 0.00 GPU-hours, 2.00 CPU-hours, billed until 1970-01-01T01:00:00Z"
    table = [line.split() for line in shown]
    assert ["boot", "0.25", "0:30:00", "50%"] in table
    assert table.count(["emb35", "0.25", "0:30:00", "50%"]) == 1
    assert ["ranking", "emb35", "-", "0.25", "0:30:00", "50%"] in table


def test_json_prints_the_summary_itself(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(results), "--json"], NOW) == 0
    tokens = {("ranking", "emb35"): 2_000_000}
    expected = summarize(rows(), budget_usd=2.0, now=NOW, fixed_usd_per_hour=0.5, tokens_by_trial=tokens)
    assert json.loads(capsys.readouterr().out) == expected


def spot_rows() -> list[dict[str, Any]]:
    """A trial killed on one spot node; another node that AWS took back within its first hour."""
    market = {"instance_type": "t", "zone": "za"}
    spec = {"session": "s1", "kind": "worker", "gpus": 1, "cpus": 4, "lifecycle": "spot", **market}
    trial = {"session": "s1", "node": "n1", "stage": "ranking", "trial": "emb25"}
    return [
        ledger.node_up(time=0, node="n1", **spec),
        ledger.node_up(time=0, launched_at=0.0, node="n2", **spec),
        ledger.node_down(time=1800, session="s1", node="n2", why="aws"),
        ledger.trial_start(time=0, **trial, variant="emb25", share=1.0),
        ledger.trial_end(time=3600, **trial, status="killed"),
        ledger.price(time=0, usd_per_hour=0.5, **market, lifecycle="spot"),
        ledger.price(time=0, usd_per_hour=2.0, **market, lifecycle="on-demand"),
        ledger.price(time=1, usd_per_hour=0.5, **market, lifecycle="spot", stale=True),
    ]


def test_savings_projection_and_prices_are_told(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They rest on what the sweep alone knows, and wrote into its last summary."""
    (results / "events.jsonl").write_text("".join(json.dumps(row) + "\n" for row in spot_rows()))
    counts = {"tokens_by_trial": 1, "budget_tokens_by_trial": 5, "remaining_tokens_by_trial": 2}
    known = {name: {("ranking", "emb25"): count * 1_000_000} for name, count in counts.items()}
    last = summarize(spot_rows(), budget_usd=50.0, now=0.0, fixed_usd_per_hour=None, **known)
    (results / "COST_SUMMARY.json").write_text(json.dumps(last))
    assert main(["report", str(results)], NOW) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[2:6] == [
        "saved by spot instances: $2.25 ($0.75 for what costs $3.00 on demand)",
        "saved by first hours that AWS waived: $0.25",
        "saved by stopping losers early: $2.00 (emb25)",
        "projected to the end: $2.00 ($1.50 for 2.0M tokens to go)",  # where first hours are not free
    ]
    assert [line[:40] for line in shown if "warning" in line] == ["warning: node n1: its price is stale, no"]
    table = " ".join(" ".join(shown).split())
    assert "n1 t spot za - 0.5 stale 0.50 1:00:00 n2" in table
    assert "n2 t spot za aws, free 0.5 stale 0.00 0:30:00" in table


def test_a_loser_that_was_stopped_at_its_end_is_no_saving() -> None:
    counts = {name: {("ranking", "emb25"): 5_000_000} for name in ("tokens_by_trial", "budget_tokens_by_trial")}
    lines = saving_lines(summarize(spot_rows(), budget_usd=50.0, now=0.0, fixed_usd_per_hour=None, **counts))
    assert lines
    assert not any("losers" in line for line in lines)


def test_csv_has_every_cell_of_the_bill(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(results), "--csv"], NOW) == 0
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(line["trial"], line["use"]) for line in lines] == [
        *(("emb35", "useful"), ("", "boot"), ("", "idle"), ("", "head"))
    ]
    assert sum(float(line["usd"]) for line in lines) == 0.5
    assert sum(float(line["node_seconds"]) for line in lines) == 3600.0
    (results / "COST_SUMMARY.json").unlink()
    assert main(["report", str(results), "--csv"], NOW) == 0
    assert capsys.readouterr().out.splitlines()[1] == "ranking,emb35,emb35,,useful,,1800.0,1800.0"


def test_without_a_summary_the_price_is_unknown_not_zero(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "COST_SUMMARY.json").unlink()
    assert main(["report", str(results)], NOW) == 0
    shown = capsys.readouterr().out
    assert "Cost of my[bold]sweep: unknown\n" in shown
    assert "warning: node laptop: no price is known for its 3600 s" in shown
    assert ["boot", "-", "0:30:00", "50%"] in [line.split() for line in shown.splitlines()]


def test_a_machine_that_costs_nothing_is_told_of_in_hours(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (results / "COST_SUMMARY.json").write_text(json.dumps(earlier_summary() | {"fixed_usd_per_hour": 0.0}))
    assert main(["report", str(results)], NOW) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "Cost of my[bold]sweep: nothing but time (`cost.fixed_usd_per_hour` is 0)"
    assert not any("USD" in line for line in shown)
    assert ["ranking", "emb35", "-", "0:30:00", "50%"] in [line.split() for line in shown]


def test_every_line_of_a_long_bill_fits_a_terminal(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    market = {"instance_type": "g5.12xlarge", "zone": "us-east-1a"}
    spec = {"kind": "worker", "gpus": 4, "cpus": 48, "lifecycle": "spot", **market}
    with (results / "events.jsonl").open("a") as stream:
        for row in (
            ledger.node_up(time=0, session="s1", node="ab" * 28, **spec),
            ledger.price(time=0, usd_per_hour=2.1234, lifecycle="spot", **market),
            ledger.price(time=9, usd_per_hour=2.2341, lifecycle="spot", **market),
        ):
            stream.write(json.dumps(row) + "\n")
    assert main(["report", str(results)], NOW) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if "abab" in line]
    assert [line.split() for line in table] == [
        "abababab g5.12xlarge spot us-east-1a - 2.123-2.234 2.23 1:00:00".split()
    ]


def test_part_of_the_prices_gives_a_lower_bound(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spot = {"kind": "worker", "gpus": 1, "cpus": 4, "lifecycle": "spot"}
    with (results / "events.jsonl").open("a") as stream:
        stream.write(json.dumps(ledger.node_up(time=0, session="s1", node="n2", **spot)) + "\n")
    assert main(["report", str(results)], NOW) == 0
    assert "Cost of my[bold]sweep: at least $0.50 of a" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("events.jsonl", None, "events.jsonl: got no such file"),
        ("events.jsonl", '{"event": "heartbeat", "time": 1}', "heartbeat at 1: session: got nothing"),
        ("COST_SUMMARY.json", "{", "COST_SUMMARY.json: got no cost summary"),
        ("COST_SUMMARY.json", "[]", "COST_SUMMARY.json: got no cost summary"),
        ("COST_SUMMARY.json", '{"by_trial": []}', "COST_SUMMARY.json: got no cost summary"),
    ],
)
def test_a_missing_or_spoilt_file_is_one_line_and_exit_code_2(
    results: Path, capsys: pytest.CaptureFixture[str], name: str, content: str | None, part: str
) -> None:
    (results / name).unlink()
    if content is not None:
        (results / name).write_text(content)
    assert main(["report", str(results)], NOW) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert part in shown.err


def test_a_wrong_path_is_one_line_on_stderr_and_exit_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cost", "report", str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    advice = "got no folder; give the results folder of a sweep, such as results/smoke"
    assert done.stderr == f"cost: {tmp_path / 'nowhere'}: {advice}\n"


def test_the_package_stands_alone() -> None:
    """It is meant for machines that have nothing else installed: no torch, no Ray, nothing of paramalloc."""
    code = (
        "import sys, pkgutil, importlib, cost\n"
        "names = [m.name for m in pkgutil.iter_modules(cost.__path__) if m.name != '__main__']\n"
        "[importlib.import_module(f'cost.{name}') for name in names]\n"
        "import cost.__main__\n"
        "print(len(names), sorted({'torch', 'ray', 'paramalloc'} & {m.split('.')[0] for m in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, _, heavy = done.stdout.strip().partition(" ")
    assert int(count) >= 5
    assert heavy == "[]"
