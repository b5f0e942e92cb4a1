"""The Makefile types for a user what the documentation says; nothing is run here, `make -n` only prints."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
INSTALLED = ".venv/.installed"
DOCUMENTS = {"docs/cluster.md": "s3://BUCKET/PREFIX", "README.md": "s3://bucket/prefix"}


def typed(target: str, *settings: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "-n", "-o", INSTALLED, target, "SWEEP=sweeps/embed.yaml", *settings]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("document", DOCUMENTS)
@pytest.mark.parametrize("target", ["up", "submit", "dashboard", "fetch", "down"])
def test_a_target_is_one_documented_command(document: str, target: str) -> None:
    ended = typed(target, f"STORAGE={DOCUMENTS[document]}/")
    assert ended.returncode == 0, ended.stderr
    (command,) = ended.stdout.splitlines()
    assert command.removeprefix(".venv/bin/") in (REPOSITORY / document).read_text()


@pytest.mark.parametrize("target", ["submit", "fetch"])
def test_without_a_storage_it_says_what_to_give(target: str) -> None:
    ended = typed(target, "STORAGE=")
    assert ended.returncode == 2
    assert "give STORAGE=s3://BUCKET/PREFIX" in ended.stderr
