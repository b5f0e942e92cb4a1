"""REPORT.md against numbers worked out independently, for finished, unfinished and unlucky sweeps."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paramalloc.__main__ import main
from paramalloc.errors import EXIT_USER_ERROR
from paramalloc.files import read_json, read_jsonl
from paramalloc.report import build_report
from paramalloc.report.load import load_results
from paramalloc.report.results_page import render_everything
from paramalloc.results import FINALISTS, RANKING, ResultsFolder

DASH = "\N{EN DASH}"


def page(sweep: Any) -> str:
    return render_everything(load_results(sweep.folder), [])


def table_rows(text: str) -> dict[str, list[str]]:
    """Cells by the first one, of all tables; of two rows that begin alike the upper."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {cells[0]: cells[1:] for cells in reversed(lines)}


def test_the_verdict_comes_first(embed_report: ResultsFolder) -> None:
    winner = next(row for row in read_jsonl(embed_report.decisions) if row["decision"] == "winner")
    assert embed_report.report.read_text().splitlines()[:3] == [
        "# embed: sweep report",
        "",
        f"**{winner['sentence']}**",
    ]


def test_the_table_has_mean_and_spread_over_seeds(embed_report: ResultsFolder) -> None:
    rows = table_rows(embed_report.report.read_text())
    shape, params, share, expansion, state, ranking, final, bpb, test, latency, speed = rows["**emb25**"]
    assert (shape, params, share, expansion) == ("156 / 25 / 6 / 424", "9.94M", "25.1%", "2.72")
    assert (state, ranking) == ("finished", "301.5")
    assert final == "77.00 ± 0.36"  # of 76.6, 77.1, 77.3
    assert test == "80.08 ± 0.37"  # 1.04 times as much
    assert bpb == "1.4574 ± 0.0016"  # ln / (ln 2 * 4.3 bytes)
    assert (latency, speed) == ("13.0", "20,100")
    assert rows["emb35 (baseline)"][6] == "81.70 ± 0.46"


def test_a_killed_variant_has_dashes_for_scores_and_no_slice_score_among_them(embed_report: ResultsFolder) -> None:
    text = embed_report.report.read_text()
    cells = table_rows(text)["emb45"]
    assert cells[4] == "killed at 1.75M tokens"
    assert cells[5:] == [DASH] * 6
    last = read_json(embed_report.trial(RANKING, "emb45").metrics)["last_evaluation"]
    assert f"{last['dev_ppl']:.1f}" not in text
    assert "A run that was killed or did not finish has none" in text


def test_a_latency_that_was_measured_beside_other_trials_is_marked(
    new_sweep: Callable[..., Any], shares: list[dict[str, Any]]
) -> None:
    sweep = new_sweep(shares[:3])
    sweep.begin()
    for name in ("emb35", "emb25"):
        sweep.trial(RANKING, name, final_ppl=312.0)
    sweep.trial(FINALISTS, "emb35", final_ppl=81.0)
    rows = table_rows(page(sweep))
    assert (rows["emb35 (baseline)"][9], rows["emb25"][9]) == ("12.5", "12.5")
    sweep.start(RANKING, "emb45", "emb45")
    sweep.trial(RANKING, "emb25", final_ppl=312.0)
    text = page(sweep)
    rows = table_rows(text)
    assert (rows["emb35 (baseline)"][9], rows["emb25"][9], rows["emb45"][9]) == ("12.5", "12.5\N{DAGGER}", DASH)
    assert "\N{DAGGER} Measured in the ranking, beside other trials" in text


def test_decisions_cost_and_setup_are_there(embed_report: ResultsFolder, embed_sweep: Any) -> None:
    text = page(embed_sweep)
    assert "emb45 killed at 1.75M tokens: 19.3 above emb35 for 1.00M tokens" in text
    assert "finalists: emb35 and emb25 (emb25 is the best challenger" in text
    against = next(x for x in text.split("### Each challenger")[1].splitlines() if x.startswith("| emb25 |"))
    gain = 1 - ((76.6 * 77.1 * 77.3) / (81.2 * 82.1 * 81.8)) ** (1 / 3)
    low, high = (float(end) / 100 for end in re.search(r"\| \+([\d.]+)% to \+([\d.]+)% \|", against).groups())
    assert f"| {gain:+.1%} |" in against
    assert 0 < low < gain < high < 2 * gain
    assert re.search(r"\| better \| \d+% \| 1\.04. \| 1\.00. \| yes \|$", against)
    cost = read_json(embed_report.cost_summary)
    assert f"Total ${cost['total_usd']:.2f} of a budget of $50.00: 5.00 node-hours" in text
    assert table_rows(text)["killed by rule"] == ["$0.13", "0:15:00", "5%"]
    for fact in ("306 steps, 0.043 epochs", "3,052 steps, 0.42 epochs", "seeds 0, 1 and 2", "cpu in fp32"):
        assert fact in text
    assert "commit 0123456789abcdef0123456789abcdef01234567-dirty" in text
    assert "python tune_main.py results/embed/sweep.yaml" in text


def test_links_are_relative_and_lead_somewhere(embed_report: ResultsFolder) -> None:
    first, all_of_it = (
        re.findall(r"\]\(([^)]+)\)", path.read_text()) for path in (embed_report.report, embed_report.results_page)
    )
    assert first == [
        "figures/ppl_vs_embedding_share.png", "figures/learning_curves.png", "RESULTS.md", "report.html",
    ]  # fmt: skip
    assert {f"figures/{path.name}" for path in embed_report.figures.glob("*.png")} <= {*all_of_it}
    assert all((embed_report.root / link).is_file() for link in first + all_of_it)


def test_the_same_files_give_the_same_bytes_wherever_they_lie(embed_report: ResultsFolder, tmp_path: Path) -> None:
    copy = ResultsFolder(tmp_path / "elsewhere")
    shutil.copytree(embed_report.root, copy.root, ignore=shutil.ignore_patterns("figures", "REPORT.md", "*.csv"))
    build_report(copy)

    def contents(folder: ResultsFolder) -> dict[str, bytes]:
        return {str(p.relative_to(folder.root)): p.read_bytes() for p in folder.root.rglob("*") if p.is_file()}

    assert contents(copy) == contents(embed_report)


def test_an_unfinished_sweep_says_what_is_missing(
    new_sweep: Callable[..., Any], shares: list[dict[str, Any]]
) -> None:
    sweep = new_sweep(shares[:2])
    sweep.begin()
    text = page(sweep)
    assert "**No verdict yet" in text
    assert "emb25 has not been ranked; no finalists have been chosen" in text
    assert "nothing to draw" in text
    assert "COST_SUMMARY.json has not been written yet" in text
    assert table_rows(text)["emb25"][4:] == [DASH] * 7


def test_two_missing_seeds_are_seen_in_verdict_and_spread(
    new_sweep: Callable[..., Any], shares: list[dict[str, Any]]
) -> None:
    sweep = new_sweep(shares[:2])
    sweep.begin()
    for name, ppl in (("emb35", 312.0), ("emb25", 300.0)):
        sweep.trial(RANKING, name, final_ppl=ppl)
    sweep.promote({"emb35": 312.0, "emb25": 300.0})
    for seed in range(3):
        sweep.trial(FINALISTS, "emb35", final_ppl=80.0 + seed, seed=seed)
    sweep.trial(FINALISTS, "emb25", final_ppl=77.5, seed=0)
    text = page(sweep)
    assert "emb25 has ended 1 of 3 finalist runs" in text
    assert table_rows(text)["emb25"][6] == "77.50"
    assert "over 1 to 3 seeds" in text


def test_a_lost_baseline_is_the_verdict(new_sweep: Callable[..., Any], shares: list[dict[str, Any]]) -> None:
    sweep = new_sweep(shares[:2])
    sweep.begin()
    sweep.trial(RANKING, "emb35", final_ppl=312.0, status="diverged", until_tokens=500_000)
    assert "**No verdict: the baseline emb35 diverged, so nothing can be compared with it.**" in page(sweep)


def test_one_seed_is_never_called_beyond_noise(new_sweep: Callable[..., Any], shares: list[dict[str, Any]]) -> None:
    sweep = new_sweep(shares[:2], finalists={"seeds": [7]})
    sweep.begin()
    for name, ppl in (("emb35", 80.0), ("emb25", 82.0)):
        sweep.trial(FINALISTS, name, final_ppl=ppl, seed=7)
    sweep.decide()
    sweep.close(fixed_usd_per_hour=0.0)
    text = page(sweep)
    assert "| emb25 | -2.5% |" in text
    assert re.search(rf"\| {DASH} \| {DASH} \| unknown \| {DASH} \|.*\| no \|$", text, re.MULTILINE)
    assert "on machines that cost nothing (`cost.fixed_usd_per_hour` is 0)" in text


def test_the_command_rebuilds_the_report(embed_report: ResultsFolder, capsys: pytest.CaptureFixture[str]) -> None:
    before = embed_report.report.read_bytes()
    embed_report.report.unlink()
    assert main(["report", str(embed_report.root)]) == 0
    assert embed_report.report.read_bytes() == before
    assert capsys.readouterr().out == f"report: {embed_report.report}\n"


def test_a_wrong_folder_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == EXIT_USER_ERROR
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert f"{tmp_path}: got no sweep.yaml in it" in shown.err


def test_the_report_needs_neither_torch_nor_ray_nor_a_display() -> None:
    heavy = ("torch", "ray", "datasets", "tokenizers", "boto3", "matplotlib.pyplot")
    code = f"import sys, paramalloc.report; print([name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
