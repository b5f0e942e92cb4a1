"""What a sweep ran with: the driver's machine, every installed package, and how the code differed from its commit.

Always holds: no host name, user or path is recorded, and no credential; without git there is no commit and no
difference. `record_provenance(folder)` writes environment.json and code.diff, anew in each session.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from paramalloc.files import atomic_write, write_json
from paramalloc.redaction import redact, secret_values
from paramalloc.results import ResultsFolder

_GIT_SECONDS = 20


def record_provenance(folder: ResultsFolder) -> None:
    """Write down the present machine, packages and code. Errors: OSError when the folder cannot be written."""
    code = Path(__file__).parent
    difference = _git(code, "diff", "HEAD", "--binary") or ""
    atomic_write(folder.code_diff, redact(difference, secret_values(os.environ)))
    write_json(folder.environment, describe_environment() | {"git_sha": git_sha(code), "untracked": _untracked(code)})


def describe_environment() -> dict[str, Any]:
    """Python, operating system, processor, memory, and the installed packages as `name==version`."""
    packages = {item.metadata["Name"]: item.version for item in importlib.metadata.distributions()}
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "logical_cores": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "packages": [f"{name}=={packages[name]}" for name in sorted(packages, key=str.lower)],
    }


def git_sha(folder: Path) -> str | None:
    """Commit of the code in `folder`, with `-dirty` where files differ from it; None outside a git checkout."""
    answer = _git(folder, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    return (answer or "").strip() or None


def _untracked(folder: Path) -> list[str]:
    """Names of code files that git does not know, and whose content code.diff therefore lacks."""
    return sorted(
        (_git(folder, "ls-files", "--others", "--exclude-standard", "--full-name", ":/") or "").splitlines()
    )


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode(errors="replace")


def _processor() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
