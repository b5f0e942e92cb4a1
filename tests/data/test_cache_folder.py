"""Folders in the cache: whole or not there, and no litter of the dead."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paramalloc.data.cache_folder import building, remove_abandoned
from paramalloc.errors import UserError

NAME = "0123456789abcdef" * 2
DAY = 24 * 3600.0


def test_a_folder_appears_when_it_is_finished_and_replaces_a_damaged_one(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / NAME
    for content in ("one", "two"):
        with building(folder) as unfinished:
            assert not folder.exists()
            (unfinished / "file").write_text(content)
        assert (folder / "file").read_text() == content
        assert os.listdir(folder.parent) == [NAME]
    assert os.stat(folder).st_mode & 0o777 == 0o755


def test_what_is_raised_inside_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with building(tmp_path / NAME) as unfinished:
            (unfinished / "file").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert os.listdir(tmp_path) == []


def test_the_faster_of_two_wins(tmp_path: Path) -> None:
    with building(tmp_path / NAME) as slow:
        (slow / "file").write_text("slow")
        with building(tmp_path / NAME) as fast:
            (fast / "file").write_text("fast")
    assert (tmp_path / NAME / "file").read_text() == "fast"
    assert os.listdir(tmp_path) == [NAME]


def test_a_folder_that_cannot_be_made_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written") as error, building(tmp_path / "file" / NAME):
        pass
    assert error.value.place == "data.cache_dir"


def test_what_the_dead_left_is_removed(tmp_path: Path) -> None:
    """A process killed while it builds leaves its folder; the next to build removes it."""
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom paramalloc.data.cache_folder import building\n"
        f"with building(Path(sys.argv[1]) / '{NAME}') as folder:\n"
        "    (folder / 'file').write_text('half')\n    os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    (left,) = os.listdir(tmp_path)
    assert left.startswith(f".{NAME}.")
    with building(tmp_path / NAME):
        assert left not in os.listdir(tmp_path)


def test_only_abandoned_folders_are_removed(tmp_path: Path) -> None:
    here, mine = socket.gethostname(), os.getpid()
    names = [f".{NAME}.{here}-{mine}-abcd", f".{NAME}.another-host-1-abcd", ".stale.abc", f".{NAME}.txt", NAME]
    for name in names:
        (tmp_path / name / "inner").mkdir(parents=True)
    (tmp_path / f".{NAME}.{here}-{mine}-file").write_text("")
    names.append(f".{NAME}.{here}-{mine}-file")
    remove_abandoned(tmp_path, now=time.time() + 0.9 * DAY)
    assert sorted(os.listdir(tmp_path)) == sorted(names)
    remove_abandoned(tmp_path, now=time.time() + 1.1 * DAY)
    assert sorted(os.listdir(tmp_path)) == sorted([*names[2:]])
