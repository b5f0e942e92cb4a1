"""What is written down of machine, packages and code; in a git repository made for the test."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from paramalloc import provenance
from paramalloc.files import read_json
from paramalloc.provenance import git_sha, record_provenance
from paramalloc.redaction import REDACTED
from paramalloc.results import ResultsFolder


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one file, which the module under test takes for its own."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    monkeypatch.setattr(provenance, "__file__", str(folder / "provenance.py"))
    return folder


def test_commit_difference_and_unknown_files_are_written_down(code: Path, tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "results")
    record_provenance(folder)
    sha = git(code, "rev-parse", "HEAD")
    assert folder.code_diff.read_text() == ""
    assert read_json(folder.environment)["git_sha"] == sha
    (code / "a.py").write_text("x = 2\nAPI_KEY = 'planted-credential'\n")
    (code / "new.py").write_text("y = 1\n")
    record_provenance(folder)
    found = read_json(folder.environment)
    assert found["git_sha"] == f"{sha}-dirty"
    assert found["untracked"] == ["new.py"]
    difference = folder.code_diff.read_text()
    assert "-x = 1\n+x = 2\n" in difference
    assert REDACTED in difference
    assert "planted-credential" not in difference


def test_packages_are_names_and_versions_and_nothing_tells_whose_machine_it_is(code: Path, tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "results")
    record_provenance(folder)
    found = read_json(folder.environment)
    assert any(line.startswith("torch==") for line in found["packages"])
    assert all(line.count("==") == 1 and "@" not in line and "/" not in line for line in found["packages"])
    assert found["logical_cores"] >= 1
    assert str(tmp_path) not in folder.environment.read_text()


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_sha(tmp_path) is None
