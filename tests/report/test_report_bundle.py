"""bundle.zip: complete, the same each time, without credentials, and its script compares number by number."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from paramalloc.files import append_jsonl, atomic_write, read_json, read_jsonl, write_json, write_jsonl
from paramalloc.redaction import REDACTED
from paramalloc.report import build_report
from paramalloc.report.bundle import make_bundle
from paramalloc.report.load import load_results
from paramalloc.results import FINALISTS, RANKING, ResultsFolder

SECRET = "planted/credential+0123456789"
KEY_ID = "AKIAABCDEFGHIJKLMNOP"


@pytest.fixture
def folder(embed_report: ResultsFolder, tmp_path: Path) -> ResultsFolder:
    """A copy of the finished sweep, with what its driver records beside."""
    copy = ResultsFolder(tmp_path / "embed")
    shutil.copytree(embed_report.root, copy.root)
    write_json(copy.environment, {"packages": ["torch==2.13.0"], "untracked": []})
    atomic_write(copy.code_diff, "")
    atomic_write(copy.tokenizer(16_000), '{"model": {"vocab": {"password: abcdefgh": 1}}}')
    return copy


def bundled(folder: ResultsFolder, *secrets: str) -> dict[str, bytes]:
    data = make_bundle(load_results(folder), folder, secrets)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_what_it_takes_is_in_it_unchanged_and_weights_are_not(folder: ResultsFolder) -> None:
    for name in ("checkpoint/best/model.safetensors", "tensorboard/events", "error.txt"):
        atomic_write(folder.trial(FINALISTS, "emb25-seed0").path / name, "x")
    members = bundled(folder)
    results = load_results(folder)
    trials = [f"{t.stage}/{t.name}/{file}" for t in results.trials for file in ("metrics.json", "history.jsonl")]
    files = ["sweep.yaml", "plan.json", "tokenizer-16000.json", "environment.json", "code.diff", "decisions.jsonl"]
    for name in (*files, *trials, "results_summary.csv", "REPORT.md", "MODEL_CARD.md"):
        assert members[f"embed/{name}"] == (folder.root / name).read_bytes()
    assert not [name for name in members if "checkpoint" in name or "tensorboard" in name or "error" in name]
    assert members["embed/requirements.txt"] == b"torch==2.13.0\n"
    facts = json.loads(members["embed/bundle.json"])
    assert facts["seeds"]["finalists/emb25-seed2"] == 2
    assert facts["tokenizer_sha256"] == {"16000": f"{16_000:064x}"}
    assert facts["sha256"] == {
        name.removeprefix("embed/"): hashlib.sha256(data).hexdigest()
        for name, data in members.items()
        if name != "embed/bundle.json"
    }


def test_the_same_files_give_the_same_bytes_and_the_script_can_be_run(folder: ResultsFolder) -> None:
    first = make_bundle(load_results(folder), folder)
    for path in folder.root.rglob("*.json"):
        path.touch()
    assert make_bundle(load_results(folder), folder) == first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        modes = {entry.filename: entry.external_attr >> 16 for entry in archive.infolist()}
    assert modes["embed/reproduce.sh"] & 0o111
    assert not modes["embed/sweep.yaml"] & 0o111


def test_no_planted_credential_gets_in(folder: ResultsFolder) -> None:
    atomic_write(folder.code_diff, f"+aws_access_key_id = {KEY_ID}\n+aws_secret_access_key = {SECRET}\n+x = 1\n")
    append_jsonl(
        folder.events, {"event": "trial_failed", "time": 0.0, "text": f"403 for https://ada:{SECRET}@host/x"}
    )
    metrics = folder.trial(RANKING, "emb15").metrics
    write_json(metrics, read_json(metrics) | {"note": f"Bearer {SECRET}"})
    atomic_write(folder.sweep, folder.sweep.read_text().replace("paramalloc", f"w-{SECRET.replace('/', '')}"))
    members = bundled(folder, SECRET.replace("/", ""))
    everything = b"\n".join(members.values()).decode()
    assert KEY_ID not in everything
    assert SECRET not in everything
    assert SECRET.replace("/", "") not in everything
    assert "+x = 1" in members["embed/code.diff"].decode()
    assert everything.count(REDACTED) >= 5


def test_the_environments_credentials_are_kept_out_of_a_report(
    folder: ResultsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "plain-words-only")
    atomic_write(folder.code_diff, "+project = 'plain-words-only'\n")
    build_report(folder)
    with zipfile.ZipFile(folder.bundle) as archive:
        assert archive.read("embed/code.diff").decode() == f"+project = '{REDACTED}'\n"


def compared(bundle: Path, rerun: Path) -> subprocess.CompletedProcess[str]:
    script = bundle / "compare_numbers.py"
    return subprocess.run([sys.executable, str(script), str(bundle), str(rerun)], capture_output=True, text=True)


def test_the_comparison_sees_every_number_but_the_measured_ones(folder: ResultsFolder, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(make_bundle(load_results(folder), folder))) as archive:
        archive.extractall(tmp_path)
    bundle, rerun = tmp_path / "embed", tmp_path / "rerun"
    shutil.copytree(folder.root, rerun)
    again = ResultsFolder(rerun).trial(FINALISTS, "emb25-seed1")
    metrics = read_json(again.metrics)
    write_json(again.metrics, metrics | {"wall_seconds": 1.0, "latency_ms": None, "git_sha": "another"})
    rows: list[dict[str, Any]] = read_jsonl(again.history)
    write_jsonl(again.history, [row | {"training_seconds": 0.0} for row in rows])
    answer = compared(bundle, rerun)
    assert (answer.returncode, answer.stdout.startswith("identical: ")) == (0, True)
    rows[3]["dev_ppl"] += 1e-12
    write_jsonl(again.history, rows)
    write_json(again.metrics, metrics | {"dev_bpb": 0.0})
    ResultsFolder(rerun).trial(RANKING, "emb35").metrics.unlink()
    answer = compared(bundle, rerun)
    assert answer.returncode == 1
    assert "ranking/emb35: missing in the rerun" in answer.stdout
    assert "finalists/emb25-seed1: history[3].dev_ppl: " in answer.stdout
    assert "finalists/emb25-seed1: metrics.dev_bpb: " in answer.stdout
    assert "3 differences" in answer.stdout


def test_another_process_makes_the_same_bundle_byte_for_byte(folder: ResultsFolder) -> None:
    """Also one that orders sets of words in another way."""
    code = (
        "import hashlib, sys; from pathlib import Path; from paramalloc.report.bundle import make_bundle; "
        "from paramalloc.report.load import load_results; from paramalloc.results import ResultsFolder; "
        "folder = ResultsFolder(Path(sys.argv[1])); "
        "print(hashlib.sha256(make_bundle(load_results(folder), folder)).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code, str(folder.root)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert hashes == {hashlib.sha256(make_bundle(load_results(folder), folder)).hexdigest() + "\n"}
