"""install.sh with stand-ins for Python, pip and sudo: what is installed when, and nothing the second time."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "cluster" / "install.sh"
PYTHON = """#!/bin/bash
echo "python3 $*" >>"$LOG"
if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; fi
if [ "$1" = -c ]; then exit "${NO_VENV:-0}"; fi
"""
OTHER = '#!/bin/bash\necho "$(basename "$0") $*" >>"$LOG"\n'


class Node:
    def __init__(self, home: Path) -> None:
        self.home, self.log = home, home / "log"
        for name, text in {"python3": PYTHON, "sudo": OTHER}.items():
            (home / "bin").mkdir(exist_ok=True)
            (home / "bin" / name).write_text(text)
            (home / "bin" / name).chmod(0o755)
        (home / ".bashrc").write_text("# Ubuntu's own\n")

    def install(self, *arguments: str, **environment: str) -> list[str]:
        self.log.write_text("")
        path = f"{self.home / 'bin'}:/usr/bin:/bin"
        known = {"HOME": str(self.home), "PATH": path, "LOG": str(self.log)} | environment
        subprocess.run(["bash", str(SCRIPT), *arguments], env=known, check=True)
        return self.log.read_text().splitlines()


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_the_tested_set_is_installed_once(node: Node) -> None:
    first = node.install()
    pip = [line for line in first if "pip install" in line]
    assert len(pip) == 1
    assert "--constraint" in pip[0]
    assert pip[0].endswith(f"--editable {SCRIPT.parents[1]}")
    assert not [line for line in first if line.startswith("sudo")]
    assert not [line for line in node.install() if "pip install" in line or "-m venv" in line]


def test_every_shell_gets_the_token_and_the_environment_once(node: Node) -> None:
    node.install()
    node.install()
    settings = (node.home / ".bashrc").read_text()
    assert settings.count("RAY_AUTH_MODE=token") == 1
    command = 'source ~/.bashrc; echo "$RAY_AUTH_TOKEN_PATH $RAY_USAGE_STATS_ENABLED ${PATH%%:*}"'
    known = os.environ | {"HOME": str(node.home)}
    shown = subprocess.run(["bash", "-c", command], env=known, check=True, capture_output=True, text=True).stdout
    assert shown.split() == [f"{node.home}/.ray/auth_token", "0", f"{node.home}/venv/bin"]


def test_a_machine_without_venv_gets_it_from_ubuntu(node: Node) -> None:
    installed = [line for line in node.install(NO_VENV="1") if line.startswith("sudo") and "python3-venv" in line]
    assert len(installed) == 1


def test_a_v100_gets_its_driver_and_its_build_of_pytorch_first(node: Node) -> None:
    node.install()
    lines = node.install("v100", "https://example.org/cu126")
    assert any("nvidia-headless-no-dkms-580-server" in line for line in lines if line.startswith("sudo"))
    pip = [line for line in lines if "pip install" in line]
    assert pip[0].endswith("--index-url https://example.org/cu126 torch")
    assert "--editable" in pip[1]


@pytest.mark.parametrize("address", [(), ("TORCH_INDEX_URL",)])
def test_a_v100_without_an_address_is_refused_in_one_line(node: Node, address: tuple[str, ...]) -> None:
    path = {"HOME": str(node.home), "PATH": f"{node.home / 'bin'}:/usr/bin:/bin", "LOG": str(node.log)}
    command = ["bash", str(SCRIPT), "v100", *address]
    ended = subprocess.run(command, env=path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stderr.startswith("install.sh: a V100 needs the address")
    assert ended.stderr.count("\n") == 1
    assert not node.log.exists()
