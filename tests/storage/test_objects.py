"""Files under a prefix of a bucket, and what is said when S3 does not do its part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from paramalloc.errors import UserError
from paramalloc.storage.objects import ObjectChangedError, Objects, StorageError, open_objects
from tests.storage.conftest import ADDRESS


def test_what_is_put_comes_back_under_its_name_and_no_other_prefix(objects: Objects, tmp_path: Path) -> None:
    objects.put("plan.json", b"{}")
    (tmp_path / "big").write_bytes(b"x" * 100)
    objects.send(tmp_path / "big", "a/b/model")
    assert objects.names().keys() == {"plan.json", "a/b/model"}
    assert objects.names("a/").keys() == {"a/b/model"}
    assert open_objects(f"{ADDRESS}-other").names() == {}
    found = objects.get("plan.json")
    assert found is not None
    assert found.content == b"{}"
    assert 0 <= found.age_seconds < 60
    objects.fetch("a/b/model", tmp_path / "new" / "model")
    assert (tmp_path / "new" / "model").read_bytes() == b"x" * 100
    objects.delete(["a/b/model"])
    assert objects.names().keys() == {"plan.json"}


def test_a_file_that_is_not_there(objects: Objects, tmp_path: Path) -> None:
    assert objects.get("none") is None
    with pytest.raises(FileNotFoundError):
        objects.fetch("none", tmp_path / "none")
    assert not list(tmp_path.glob("none*"))
    objects.delete(["none"])


def test_a_conditional_write_only_replaces_the_version_that_it_knows(objects: Objects) -> None:
    tag = objects.put_if("driver", b"1", None)
    with pytest.raises(ObjectChangedError):
        objects.put_if("driver", b"2", None)
    newer = objects.put_if("driver", b"3", tag)
    with pytest.raises(ObjectChangedError):
        objects.put_if("driver", b"4", tag)
    found = objects.get("driver")
    assert found is not None
    assert (found.content, found.tag) == (b"3", newer)


def test_a_bucket_that_is_not_there_or_may_not_be_used_is_one_sentence(
    objects: Objects, refuse: Callable[[str | None], None], tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match="s3://missing-bucket: got NoSuchBucket for ListObjectsV2; see that"):
        open_objects("s3://missing-bucket/sweeps").names()
    refuse("PutObject")
    (tmp_path / "file").write_bytes(b"1")
    for write in (
        lambda: objects.put("name", b"1"),
        lambda: objects.put_if("name", b"1", None),
        lambda: objects.send(tmp_path / "file", "name"),
    ):
        with pytest.raises(StorageError, match="AccessDenied for PutObject"):
            write()


def test_two_trials_in_the_same_trouble_say_the_same(monkeypatch: pytest.MonkeyPatch, objects: Objects) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("paramalloc.storage.objects.ATTEMPTS", 1)
    away = open_objects(ADDRESS)
    with pytest.raises(StorageError, match="Could not connect") as one:
        away.put("one", b"")
    with pytest.raises(StorageError) as two:
        away.get("two")
    assert str(one.value) == str(two.value)


@pytest.mark.parametrize("address", ["", "results", "s3://bucket", "https://bucket/prefix", "s3://Bucket/prefix"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="give s3://bucket/prefix"):
        open_objects(address)
