"""The flag of a notice: there or not, whole or not, and never for ever."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.notice import (
    STALE_AFTER_SECONDS,
    NodeRecord,
    Notice,
    make_folder,
    notice_path,
    pending,
    read_record,
    record_path,
    write_notice,
    write_record,
)

NOTICE = Notice(action="terminate", deadline=2000.0, noticed_at=1880.0)


def test_what_the_agent_writes_is_what_the_trial_reads(tmp_path: Path) -> None:
    flag = tmp_path / "notice.json"
    assert pending(flag) is None
    write_notice(flag, NOTICE)
    assert pending(flag, now=1900.0) == NOTICE
    assert json.loads(flag.read_text()) == {
        "action": "terminate",
        "deadline": 2000.0,
        "noticed_at": 1880.0,
        "kind": "spot",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["notice.json"]


def test_a_flag_long_past_its_deadline_was_left_behind(tmp_path: Path) -> None:
    flag = tmp_path / "notice.json"
    write_notice(flag, NOTICE)
    assert pending(flag, now=2000.0 + STALE_AFTER_SECONDS - 1) == NOTICE
    assert pending(flag, now=2000.0 + STALE_AFTER_SECONDS + 1) is None
    assert pending(flag) is None  # by the real clock, decades later


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"action": "stop", "deadline": null}', "\x00"])
def test_a_flag_that_the_agent_did_not_write_is_none(tmp_path: Path, content: str) -> None:
    flag = tmp_path / "notice.json"
    flag.write_text(content)
    assert pending(flag, now=0.0) is None


def test_the_place_is_this_users_and_this_hosts_or_the_given_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PARAMALLOC_NOTICE_FILE", raising=False)
    assert notice_path().parts[:3] == ("/", "tmp", "paramalloc")
    monkeypatch.setenv("PARAMALLOC_NOTICE_FILE", str(tmp_path / "a.json"))
    assert notice_path() == tmp_path / "a.json"
    write_notice(notice_path(), NOTICE)
    assert pending(now=1900.0) == NOTICE


def test_two_simulated_nodes_in_one_folder_keep_apart(tmp_path: Path) -> None:
    assert record_path(tmp_path / "a.json") != record_path(tmp_path / "b.json")
    assert record_path(tmp_path / "notice.json") == tmp_path / "node.json"


def test_the_record_of_a_machine_survives_with_and_without_a_notice(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    assert read_record(path) is None
    for notice in (None, NOTICE):
        record = NodeRecord("i-1", "g5.xlarge", "us-east-1a", "spot", 0.5, rebalance_at=1.5, notice=notice)
        write_record(path, record)
        assert read_record(path) == record


def test_the_default_folder_is_for_one_user_and_a_trap_in_its_place_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.notice.SHARED_FOLDER", tmp_path / "paramalloc")
    folder = tmp_path / "paramalloc" / "1000-host"
    make_folder(folder)
    make_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent.stat().st_mode & 0o7777 == 0o1777
    trap = folder.with_name("trap")
    trap.symlink_to(folder)
    with pytest.raises(PermissionError, match="another user"):
        make_folder(trap)


def test_asking_imports_nothing_heavy() -> None:
    """It happens inside every trial and before every step."""
    heavy = "{'ray', 'boto3', 'urllib.request', 'yaml'}"
    code = f"import sys, cluster; cluster.pending(); print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
