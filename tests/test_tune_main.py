"""The command: what it prints, where it stops, and the exit code that goes with it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import tune_main
from cluster.teardown import OwnCluster
from paramalloc.data.corpus import open_corpus
from paramalloc.data.source_files import SourceFile, text_file
from paramalloc.errors import UserError
from paramalloc.files import atomic_write, write_json
from paramalloc.results import ResultsFolder
from paramalloc.storage.lock import sole_driver
from paramalloc.sweep.stopped import BudgetReachedError, SweepStoppedError
from paramalloc.sweep_file import dump_sweep, load_sweep

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


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would start, to no purpose, while what the test looks at goes on."""
    monkeypatch.setattr("paramalloc.sweep.machines.ray_session._start", lambda verbose: None)


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


def test_a_change_that_a_run_would_refuse_is_refused_after_the_plan(
    sweep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ResultsFolder(tmp_path / "results" / "mine")
    atomic_write(folder.sweep, dump_sweep(load_sweep(sweep)))
    write_json(folder.plan, {"corpus_fingerprint": open_corpus(load_sweep(sweep).data).fingerprint()})
    assert run(sweep, "--plan") == 0
    capsys.readouterr()
    assert run(sweep, "--plan", "--set", "ranking.tokens=8_000") == 2
    said = capsys.readouterr()
    assert "mine: 2 variants" in said.out
    assert "ranking.tokens: 5000000 -> 8000" in said.err
    assert run(sweep, "--plan", "--set", "ranking.tokens=8_000", "--fresh") == 0
    assert run(sweep, "--plan", "--set", "data.synthetic_bytes=210_000") == 2
    assert "results of another text" in capsys.readouterr().err


def test_what_the_hub_does_not_give_is_told_before_anything_starts(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def started(verbose: bool) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("paramalloc.sweep.machines.ray_session._start", started)
    monkeypatch.setattr("paramalloc.data.pinned.PinnedDataset.cached", lambda *_: None)
    monkeypatch.setattr("paramalloc.data.pinned._hub_problem", lambda repository: "nobody answers")
    text = tmp_path / "text.txt"
    text.write_text("one\n\ntwo\n\n" * 1000)
    probed = "evaluation.metrics=[perplexity, smallbench_accuracy]"
    for corpus, missing in (("wikitext-2", "Salesforce/wikitext, nyu-mll/glue"), (text, "got nyu-mll/glue")):
        assert run(sweep, "--set", f"data.corpus={corpus}", "--set", probed) == 2
        assert missing in capsys.readouterr().err


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
    sweep: Path, no_ray: None, capsys: pytest.CaptureFixture[str]
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


def test_a_large_text_is_read_for_its_hash_once(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_ray: None
) -> None:
    def count(path: Path, *arguments: Any) -> SourceFile:
        opened.append(path.name)
        return text_file(path, *arguments)

    def stop(*_: object) -> None:
        raise SweepStoppedError("that far")

    opened: list[str] = []
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"paragraph {i} says word {i * i}" for i in range(9_000)))
    monkeypatch.setattr("paramalloc.data.corpus.text_file", count)
    monkeypatch.setattr("paramalloc.sweep.course.Session", stop)
    assert run(sweep, "--set", f"data.corpus={text}") == 1
    assert (tmp_path / "results" / "mine" / "DATASET_MANIFEST.json").exists()
    assert opened == ["text.txt"]


class Ended:
    """Stands for the driver and for AWS: what the sweep ends with, and which clusters were ended after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, sweep_ends: int | Exception) -> None:
        self.clusters: list[OwnCluster] = []
        own = OwnCluster("ours", "us-east-1", "i-0")
        monkeypatch.setattr("paramalloc.sweep.machines.cluster_end.own_cluster", lambda: own)
        monkeypatch.setattr(
            "paramalloc.sweep.machines.cluster_end.tear_down", lambda own, say: self.clusters.append(own)
        )
        monkeypatch.setattr("paramalloc.storage.objects.require_storage", lambda address: None)
        monkeypatch.setattr("paramalloc.sweep.workplace.workplace", lambda *_: nullcontext())
        monkeypatch.setattr("paramalloc.sweep.driver.run_sweep", self._run)
        self._end = sweep_ends

    def _run(self, *_: object) -> int:
        if isinstance(self._end, int):
            return self._end
        raise self._end


DOWN = ("--storage", "s3://bucket/prefix", "--down-when-done")


@pytest.mark.parametrize(
    ("end", "code"), [(0, 0), (1, 1), (BudgetReachedError("enough"), 3), (SweepStoppedError("unsound"), 1)]
)
def test_a_sweep_that_has_ended_takes_its_cluster_down(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, end: int | Exception, code: int
) -> None:
    ended = Ended(monkeypatch, end)
    assert run(sweep, *DOWN) == code
    assert [cluster.name for cluster in ended.clusters] == ["ours"]


@pytest.mark.parametrize(
    ("end", "code"), [(KeyboardInterrupt(), 130), (UserError("data", "x", "y"), 2), (OSError("S3 is away"), 2)]
)
def test_a_sweep_that_will_carry_on_or_could_not_be_stored_keeps_its_cluster(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, end: Exception, code: int
) -> None:
    ended = Ended(monkeypatch, end)
    assert run(sweep, *DOWN) == code
    assert ended.clusters == []


def test_results_that_are_nowhere_but_on_the_head_keep_it_alive(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = BudgetReachedError("enough")
    stopped.add_note("Besides, the results could not be stored: S3 is away")
    ended = Ended(monkeypatch, stopped)
    assert run(sweep, *DOWN) == 3
    assert ended.clusters == []
    assert "could not be stored" in capsys.readouterr().err


def test_without_a_storage_or_away_from_a_head_it_is_refused_before_anything_starts(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(sweep, "--down-when-done") == 2
    assert run(sweep, *DOWN) == 2
    without, elsewhere = capsys.readouterr().err.splitlines()
    assert without.startswith("paramalloc: --down-when-done: got no --storage; give one")
    assert "only on the head of a cluster that `ray up` started" in elsewhere
    assert not (tmp_path / "results").exists()
