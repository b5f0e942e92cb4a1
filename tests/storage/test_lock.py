"""One driver per folder: a second process is refused by name, a killed one leaves nothing in the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from paramalloc.errors import UserError
from paramalloc.storage.lock import sole_driver

HOLDER = """
import sys
from pathlib import Path
from paramalloc.storage.lock import sole_driver
with sole_driver(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / ".lock")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_driver_is_refused_and_told_who_was_first(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"process {holder.pid} on "), sole_driver(tmp_path / ".lock"):
        pass


def test_a_killed_driver_leaves_a_lock_that_is_recognised_as_stale(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with sole_driver(tmp_path / ".lock") as left_behind:
        assert left_behind is not None
        assert f"process {holder.pid} " in left_behind


def test_an_orderly_end_leaves_nothing_behind(tmp_path: Path) -> None:
    with sole_driver(tmp_path / ".lock"):
        pass
    with sole_driver(tmp_path / ".lock") as left_behind:
        assert left_behind is None
