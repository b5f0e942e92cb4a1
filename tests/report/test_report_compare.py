"""Several sweeps compared: each with its own verdict, what does not compare named, and the command that does it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from paramalloc.__main__ import main
from paramalloc.errors import EXIT_USER_ERROR
from paramalloc.files import write_json
from paramalloc.report.compare import build_comparison, draw_sweeps
from paramalloc.report.figures.style import style
from paramalloc.report.load import load_results
from paramalloc.results import FINALISTS, ComparisonFolder, ResultsFolder


@pytest.fixture
def pair(embed_sweep: Any, new_sweep: Any, shares: list[dict[str, Any]], tmp_path: Path) -> list[ResultsFolder]:
    """The finished sweep of shares, and a small one of expansions with one seed, on another text."""
    first = ResultsFolder(tmp_path / "results" / "embed")
    shutil.copytree(embed_sweep.folder.root, first.root)
    write_json(first.manifest, manifest("a"))
    second = new_sweep(
        [{"name": "emb35"}, {"name": "emb25", "glu_expansion": 3.0}], name="glu", finalists={"seeds": [0]}
    )
    second.begin()
    for name, ppl in (("emb35", 70.0), ("emb25", 69.0)):
        second.trial(FINALISTS, name, final_ppl=ppl)
    second.decide()
    second.close()
    write_json(second.folder.manifest, manifest("b"))
    return [first, second.folder]


def manifest(dev: str) -> dict[str, Any]:
    return {"splits": {"dev": {"sha256": dev}}}


def test_every_finalist_has_a_row_and_every_sweep_its_verdict(pair: list[ResultsFolder], tmp_path: Path) -> None:
    out = ComparisonFolder(tmp_path / "out")
    build_comparison(pair, out)
    table = pd.read_csv(out.table)
    assert list(zip(table["sweep"], table["variant"], table["is_winner"], strict=True)) == [
        ("embed", "emb35", False),
        ("embed", "emb25", True),
        ("glu", "emb35", True),
        ("glu", "emb25", False),
    ]
    rows = pd.read_csv(embed_csv(pair[0]))
    finals = rows[(rows["stage"] == FINALISTS) & (rows["variant"] == "emb25")]["dev_bpb"]
    assert table["dev_bpb_mean"][1] == pytest.approx(finals.mean())
    assert table["dev_bpb_sd"][1] == pytest.approx(finals.std())
    text = out.page.read_text()
    verdicts = [line.split("|")[-2].strip() for line in text.splitlines() if line.startswith(("| embed", "| glu"))]
    assert verdicts[:4] == ["", "wins", "baseline, not beaten", ""]
    assert "# 2 sweeps compared" in text
    for folder in pair:
        winner = load_results(folder).decided("winner")
        assert winner is not None
        assert winner["sentence"] in text
    assert "**Not all were scored on the same dev text**, and their scores do not compare: embed; glu." in text
    assert (out.figures / "bpb_by_sweep.png").exists()
    assert out.html.read_text().count("<svg") == 1


def embed_csv(folder: ResultsFolder) -> Path:
    from paramalloc.report import build_report

    shutil.rmtree(folder.root / "figures", ignore_errors=True)
    folder.manifest.unlink()
    build_report(folder)
    return folder.summary_csv


def test_the_figure_has_a_point_for_each_finalist_best_first_within_a_sweep(pair: list[ResultsFolder]) -> None:
    sweeps = {folder.root.name: load_results(folder) for folder in pair}
    with style():
        figure = draw_sweeps(sweeps)
    assert figure is not None
    (axes,) = figure.axes
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels == ["embed: emb25", "embed: emb35", "glu: emb25", "glu: emb35"]
    places = [float(container.lines[0].get_xdata()[0]) for container in axes.containers]
    assert places[0] < places[1]
    assert places[2] < places[3]


def test_two_sweeps_of_one_name_are_told_apart(pair: list[ResultsFolder], tmp_path: Path) -> None:
    again = ResultsFolder(tmp_path / "again")
    shutil.copytree(pair[0].root, again.root)
    out = ComparisonFolder(tmp_path / "out")
    build_comparison([pair[0], again], out)
    text = out.page.read_text()
    assert "| embed (2) | emb35 (baseline) |" in text
    assert "same dev text" not in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a", "a"], "the same folder twice"),
        (["a", "--out", "b"], "with one folder"),
        (["a", "b", "--out", "a"], "the results of a sweep"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_written(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sweep.yaml").touch()
    assert main(["report", *arguments]) == EXIT_USER_ERROR
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "sweep.yaml", "sweep.yaml"]


def test_the_command_builds_each_report_and_the_comparison(
    pair: list[ResultsFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in pair:
        folder.manifest.unlink()
    out = tmp_path / "side"
    assert main(["report", *(str(folder.root) for folder in pair), "--out", str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [*(f"report: {folder.report}" for folder in pair), f"comparison: {out / 'COMPARISON.md'}"]
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main(["report", *(str(folder.root) for folder in pair), "--out", str(out)]) == 0
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
