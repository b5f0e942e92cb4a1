"""`--storage` that cannot be used: found out before anything is written, and named as the user named it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from botocore.parsers import ResponseParserError

import tune_main
from paramalloc.storage import objects as objects_module
from paramalloc.storage.objects import Objects, StorageError, require_storage

SWEEP = """
data: {corpus: synthetic, synthetic_bytes: 200_000}
model: {total_params: 100_000, vocab_size: 600, context_length: 32}
experiments: [{name: base}]
training: {tokens: 16_000, batch_size: 4}
"""


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("s3://results-bucket", "--storage: got 's3://results-bucket'; give s3://bucket/prefix"),
        ("gs://bucket/prefix/", "--storage: got 'gs://bucket/prefix/'; give s3://bucket/prefix"),
        ("s3://nobodys-bucket/sweeps", "s3://nobodys-bucket: got NoSuchBucket for PutObject; see that it is there"),
    ],
)
def test_it_is_refused_before_anything_is_written(
    objects: Objects,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    address: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(SWEEP)
    assert tune_main.main(["mine.yaml", "--storage", address]) == 2
    assert capsys.readouterr().err.startswith(f"paramalloc: {said}")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.yaml"]


def test_a_page_of_a_proxy_is_one_sentence(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_a_proxy(**_: object) -> None:
        raise ResponseParserError("invalid XML received")

    monkeypatch.setattr(objects._client, "get_object", of_a_proxy)
    with pytest.raises(StorageError, match="got an answer that is not S3's; see that"):
        objects.get("plan.json")


@pytest.mark.parametrize("operation", ["PutObject", "DeleteObjects"])
def test_one_that_may_not_be_written_is_refused_and_one_that_may_is_left_as_it_was(
    objects: Objects, refuse: Callable[[str | None], None], monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    monkeypatch.setattr(objects_module, "open_objects", lambda address: objects)
    refuse(operation)
    with pytest.raises(StorageError, match=f"results-bucket: got AccessDenied for {operation}"):
        require_storage(objects.address)
    refuse(None)
    require_storage(objects.address)
    assert objects.names() == {}
