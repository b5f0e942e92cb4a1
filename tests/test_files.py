"""Files that survive a crash: all or nothing, strict JSON, torn lines."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from paramalloc.files import append_jsonl, atomic_write, read_jsonl, write_json


def test_a_write_that_fails_leaves_the_old_content_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.md"
    atomic_write(path, "old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match=r"No space left on device: .*report\.md"):
        atomic_write(path, "new")
    with pytest.raises(OSError, match=r"No space left on device: .*events\.jsonl"):
        append_jsonl(tmp_path / "events.jsonl", {})
    (tmp_path / "events.jsonl").unlink()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_readers_never_see_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.md"
    atomic_write(path, "old")
    seen = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (seen.append(path.read_text()), sync(descriptor)))
    atomic_write(path, "new")
    assert seen == ["old"]
    assert path.read_text() == "new"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_json_holds_no_nan_and_no_infinity(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "m.json", {"dev_ppl": value})
    assert not (tmp_path / "m.json").exists()


def test_a_line_torn_by_a_crash_is_skipped_and_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append_jsonl(path, {"tokens": 1})
    with path.open("a") as stream:
        stream.write('{"tokens": 2, "dev')
    append_jsonl(path, {"tokens": 3})
    assert read_jsonl(path) == [{"tokens": 1}, {"tokens": 3}]


def test_a_missing_line_file_has_no_rows(tmp_path: Path) -> None:
    assert read_jsonl(tmp_path / "none.jsonl") == []
