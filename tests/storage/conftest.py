"""A bucket inside this process, and ways for it to fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import moto
import pytest

from paramalloc.results import ResultsFolder
from paramalloc.storage.objects import Objects, open_objects

ADDRESS = "s3://results-bucket/sweeps/tiny"


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> Iterator[Objects]:
    """An empty prefix of an account of its own."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "planted-key-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret-0123456789")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with moto.mock_aws():
        boto3.client("s3").create_bucket(Bucket="results-bucket")
        yield open_objects(ADDRESS)


@pytest.fixture
def head(objects: Objects, tmp_path: Path) -> Callable[[str], ResultsFolder]:
    """The results folder on a head of this name."""
    return lambda name: ResultsFolder(tmp_path / name / "tiny", objects.address)


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def refuse(objects: Objects) -> Callable[[str | None], None]:
    """`refuse("PutObject")` makes every such call fail from now on; None ends it."""
    refused: list[str] = []

    def answer(model: Any, **_: Any) -> tuple[Any, dict[str, Any]] | None:
        if model.name in refused:
            return _Status(), {"Error": {"Code": "AccessDenied", "Message": "no"}}
        return None

    objects._client.meta.events.register("before-call", answer)

    def set_refused(operation: str | None) -> None:
        refused[:] = [operation] if operation else []

    return set_refused


class _Status:
    status_code = 403
