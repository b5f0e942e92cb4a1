"""The command: what it prints, where it stops, and the exit code that goes with it."""

from __future__ import annotations

from pathlib import Path

import pytest

import tune_main
from paramalloc.storage.lock import sole_driver
from paramalloc.sweep.stopped import BudgetReachedError, SweepStoppedError

SWEEP = """
data: {corpus: synthetic, synthetic_bytes: 200_000, cache_dir: CACHE}
model: {total_params: 100_000, vocab_size: 600, context_length: 32}
experiments: [{name: base}, {name: wide, glu_expansion: 4.0}]
training: {tokens: 16_000, batch_size: 4}
"""


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text(SWEEP.replace("CACHE", str(tmp_path / "cache")))
    return path


def run(*arguments: object) -> int:
    return tune_main.main([str(argument) for argument in arguments])


def test_the_plan_is_printed_and_nothing_is_started_or_written(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(sweep, "--plan") == 0
    said = capsys.readouterr().out
    assert "mine: 2 variants, baseline base" in said
    assert "estimate: unknown" in said
    assert "~" in said  # the text is not prepared, so its size is an estimate
    assert list(tmp_path.iterdir()) == [sweep]


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["--set", "model.vocab=5"], "model.vocab:"),
        (["--set", "data.corpus=no/such/text"], "data.corpus:"),
        (["--set", "model.embedding_ratio=0.9"], "experiments[0].embedding_ratio:"),
        (["--set", "resources.cpus_per_trial=4096"], "resources.cpus_per_trial:"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], place: str
) -> None:
    assert run(sweep, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"paramalloc: {place}")
    assert "Traceback" not in error
    assert not (tmp_path / "results").exists()


def test_a_corpus_too_small_for_the_vocabulary_leaves_no_sweep_behind_that_a_mended_file_would_differ_from(
    sweep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(sweep, "--set", "model.vocab_size=60_000", "--set", "model.total_params=90_000_000") == 2
    assert capsys.readouterr().err.startswith("paramalloc: model.vocab_size:")
    assert not list(sweep.parent.glob("results/*/sweep.yaml"))


def test_a_folder_that_cannot_be_made_is_a_mistake_too(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(sweep, "--results", sweep / "below-a-file") == 2
    assert "mine.yaml" in capsys.readouterr().err


def test_a_second_driver_is_refused(sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with sole_driver(tmp_path / "results" / "mine" / ".lock"):
        assert run(sweep) == 2
    assert "another driver is working in" in capsys.readouterr().err


def test_fresh_sets_earlier_results_aside_and_loses_nothing(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "results" / "mine" / "REPORT.md"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    monkeypatch.setattr("paramalloc.sweep.driver.run_sweep", lambda config, folder, *rest: 0)
    assert run(sweep, "--fresh") == 0
    assert not old.exists()
    (aside,) = tmp_path.glob("results/mine.old-*/REPORT.md")
    assert aside.read_text() == "old"


def test_ctrl_c_anywhere_is_exit_code_130(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("paramalloc.sweep.driver.run_sweep", interrupted)
    assert run(sweep) == 130


def test_a_sweep_that_is_stopped_has_the_exit_code_of_its_reason(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for reason, code in ((SweepStoppedError("unwell"), 1), (BudgetReachedError("spent"), 3)):

        def stopped(*arguments: object, reason: SweepStoppedError = reason) -> int:
            raise reason

        monkeypatch.setattr("paramalloc.sweep.driver.run_sweep", stopped)
        assert run(sweep) == code
        assert capsys.readouterr().err == f"paramalloc: {reason}\n"
