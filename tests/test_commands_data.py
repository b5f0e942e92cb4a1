"""`data prepare`: what it writes, what it says, and what it refuses."""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from paramalloc.commands import data
from paramalloc.errors import UserError
from paramalloc.files import read_json, write_json
from paramalloc.results import ResultsFolder

SWEEP = """
data: {{corpus: synthetic, synthetic_bytes: 60_000, cache_dir: {cache}}}
model: {{vocab_size: 300, context_length: 64}}
experiments: [{{name: a}}, {{name: b, vocab_size: 400}}]
"""
WIKITEXT_AND_SMALLBENCH = (
    "--set", "data.corpus=wikitext-2", "--set", "evaluation.metrics=[perplexity, smallbench_accuracy]"
)  # fmt: skip


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(SWEEP.format(cache=tmp_path / "cache"))
    return path


def prepare(*arguments: str | Path) -> str:
    """What the command says."""
    parser = argparse.ArgumentParser()
    data.add_arguments(parser)
    screen = io.StringIO()
    data.run(parser.parse_args(["prepare", *map(str, arguments)]), Console(file=screen, width=100))
    return screen.getvalue()


def test_it_prepares_every_vocabulary_and_describes_them(sweep: Path, tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "out")
    said = prepare(sweep, "--results", folder.root, "--set", "data.synthetic_bytes=50_000")
    manifest = read_json(folder.manifest)
    assert [vocabulary["vocab_size"] for vocabulary in manifest["vocabularies"]] == [300, 400]
    assert manifest["settings"]["synthetic_bytes"] == 50_000
    assert (folder.figures / "token_lengths.png").exists()
    assert (folder.figures / "token_lengths.svg").exists()
    for vocabulary in manifest["vocabularies"]:
        assert f"{vocabulary['splits']['train']['tokens']:,}" in said
    assert "licence: MIT" in said
    assert str(folder.manifest) in said


def test_the_second_time_the_cache_is_used_or_verified(
    sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare(sweep)
    before = (tmp_path / "results" / "mine" / "DATASET_MANIFEST.json").read_bytes()
    assert prepare(sweep).count("taken from") == 2
    (damaged, *_) = (tmp_path / "cache").glob("*/train.bin")
    damaged.write_bytes(bytes(damaged.stat().st_size))
    said = prepare(sweep, "--verify")
    assert "train.bin changed" in said
    assert "every file of it as it was written" in said
    assert (tmp_path / "results" / "mine" / "DATASET_MANIFEST.json").read_bytes() == before


def test_results_of_another_text_are_not_described_anew(sweep: Path, tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "out")
    write_json(folder.plan, {"corpus_fingerprint": "another"})
    with pytest.raises(UserError, match="results of another text"):
        prepare(sweep, "--results", folder.root)
    assert not folder.manifest.exists()


def test_without_a_network_it_is_one_line(sweep: Path, tmp_path: Path) -> None:
    code = (
        "import argparse, sys\nfrom rich.console import Console\nfrom paramalloc.commands import data\n"
        "from paramalloc.errors import UserError\nparser = argparse.ArgumentParser()\ndata.add_arguments(parser)\n"
        "try:\n    data.run(parser.parse_args(sys.argv[1:]), Console())\n"
        "except UserError as error:\n    sys.exit(str(error))"
    )
    nobody = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hub")}
    done = subprocess.run(
        [sys.executable, "-c", code, "prepare", str(sweep), *WIKITEXT_AND_SMALLBENCH],
        env=os.environ | nobody,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr.startswith(
        "data.corpus and evaluation.smallbench.source: got Salesforce/wikitext, nyu-mll/glue"
    )
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "results").exists()
