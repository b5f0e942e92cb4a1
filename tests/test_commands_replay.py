"""`replay` from the command line: the table, its machine-readable forms, and real curves where there are any."""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from paramalloc.commands import replay
from paramalloc.errors import UserError
from paramalloc.files import write_json, write_jsonl
from paramalloc.results import JUDGED_BY, SCHEMA_VERSION, ResultsFolder

CURVES = "run,tokens,ppl\n" + "".join(
    f"{name},{tokens},{level + 10 / (tokens / 1e6)}\n"
    for name, level in (("a", 20), ("b", 21), ("c", 30))
    for tokens in range(500_000, 5_000_001, 500_000)
)


@pytest.fixture
def curves(tmp_path: Path) -> Path:
    path = tmp_path / "curves.csv"
    path.write_text(CURVES)
    return path


def said(*arguments: object, width: int = 120) -> str:
    parser = argparse.ArgumentParser()
    replay.add_arguments(parser)
    console = Console(file=io.StringIO(), width=width)
    replay.run(parser.parse_args([str(argument) for argument in arguments]), console)
    return console.file.getvalue()


def test_the_table_has_a_row_for_each_rule_and_says_what_it_rests_on(curves: Path) -> None:
    lines = said(curves, "--draws", 60).splitlines()
    assert lines[0].startswith("3 runs; groups of equal budget: 1 (5M tokens)")
    rows = {line.split()[0]: line.split() for line in lines if line.split()[:1] in (["kill"], ["asha"], ["none"])}
    assert rows["none"][1:] == ["100.0%", "0.00", "-", "100.0%", "100.0%", "0.00%", "0.00%"]
    assert float(rows["asha"][1].rstrip("%")) < float(rows["kill"][1].rstrip("%")) < 100
    assert rows["kill"][3:5] == ["0.0%", "100.0%"]


def test_json_and_csv_hold_the_same_numbers(curves: Path) -> None:
    found: dict[str, Any] = json.loads(said(curves, "--draws", 20, "--json", "--margin-ppl", 2))
    assert (found["margin_ppl"], found["runs"], found["left_out"]) == (2.0, 3, {})
    rows = list(csv.DictReader(io.StringIO(said(curves, "--draws", 20, "--csv", "--margin-ppl", 2))))
    assert [row["rule"] for row in rows] == ["kill", "asha", "none"]
    assert [float(row["tokens_share"]) for row in rows] == [rule["tokens_share"] for rule in found["rules"]]


def test_settings_reach_the_rules(curves: Path) -> None:
    def stopped(*arguments: object) -> float:
        found = json.loads(said(curves, "--json", "--draws", 60, *arguments))["rules"][0]["stopped_per_draw"]
        return float(found)

    assert stopped("--rule", "kill", "--margin-ppl", 50) == 0 < stopped("--rule", "kill")
    assert stopped("--rule", "kill", "--window-tokens", 5_000_000) == 0
    assert stopped("--rule", "asha", "--first-rung-tokens", 6_000_000) == 0 < stopped("--rule", "asha")
    once = ("--rule", "asha", "--first-rung-tokens", 3_000_000, "--reduction")
    assert stopped(*once, 2) < stopped(*once, 3)


def test_too_few_runs_are_one_line(curves: Path) -> None:
    with pytest.raises(UserError, match="the largest group of runs with one budget has 3"):
        said(curves, "--arms", 4)


@pytest.mark.parametrize("bad", [("--arms", "1"), ("--arms", "two"), ("--margin-ppl", "-1"), ("--margin-ppl", "x")])
def test_a_setting_out_of_range_says_what_is_allowed(
    curves: Path, bad: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        said(curves, *bad)
    assert f"got {bad[1]}; allowed are" in capsys.readouterr().err


def test_published_curves(shared_data: Path) -> None:
    path = shared_data / "curves" / "modded_nanogpt_track3_optimizers.csv"
    kill, asha, none = json.loads(said(path, "--draws", 100, "--json"))["rules"]
    assert 0 < asha["tokens_share"] < kill["tokens_share"] < none["tokens_share"] == 1
    assert none["best_survives"] == 1


def ranking_of(path: Path, **status: str) -> None:
    """A results folder whose variants ended so."""
    folder = ResultsFolder(path)
    listed = ", ".join(f"{{name: {name}}}" for name in status)
    folder.sweep.write_text(
        f"{{name: s, experiments: [{listed}], ranking: {{kill_rule: {{margin_ppl: 3.5, window_tokens: 700}}}}}}"
    )
    write_json(folder.plan, {"variants": []})
    for name, ended in status.items():
        trial = folder.trial("ranking", name)
        about = {"schema_version": SCHEMA_VERSION, "status": ended, "seed": 0, "tokens": 5_000_000}
        write_json(trial.metrics, about | {"variant": name})
        write_jsonl(trial.history, [{"tokens": tokens, JUDGED_BY: 9.0} for tokens in (2_500_000, 5_000_000)])


def test_the_rules_of_a_results_folder_are_its_own(tmp_path: Path) -> None:
    ranking_of(tmp_path, a="finished", b="finished", c="finished")
    own = json.loads(said(tmp_path, "--draws", 2, "--json"))
    assert (own["margin_ppl"], own["window_tokens"]) == (3.5, 700)
    asked = json.loads(said(tmp_path, "--draws", 2, "--json", "--margin-ppl", 2))
    assert (asked["margin_ppl"], asked["window_tokens"]) == (2.0, 700)


def test_killed_trials_are_missed_aloud(tmp_path: Path) -> None:
    ranking_of(tmp_path, a="finished", b="finished", c="killed")
    lines = said(tmp_path, "--draws", 2).splitlines()
    assert lines[0].endswith("left out: 1 killed by a rule")
    assert lines[1].startswith("warning: of 1 killed no curve reaches its end")
    ranking_of(tmp_path, a="finished", b="finished", c="failed")
    assert "warning" not in said(tmp_path, "--draws", 2)
