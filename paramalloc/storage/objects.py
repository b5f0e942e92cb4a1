"""Files under one prefix of an S3 bucket.

Always holds: names are relative to the prefix, with slashes; what S3 or the network does wrong is retried with
backoff for about a minute and then a `StorageError`, whose text says where and what to do, and never a credential.
Regions, credentials and endpoints are boto3's own business (`AWS_PROFILE`, `AWS_ENDPOINT_URL`, roles of machines).

    objects = open_objects("s3://bucket/prefix/embed")
    objects.put("plan.json", b"{}")
    objects.send(Path("model.safetensors"), "finalists/emb35-seed0/checkpoint/best/model.safetensors")
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from cluster.errors import ClusterError
from cluster.wanted import Storage
from paramalloc.errors import UserError

ATTEMPTS = 8  # with botocore's exponential backoff, about a minute in all
_TRIAL = ".may-be-written"
_PER_DELETE = 1000  # as many as S3 takes in one request
_MEND = "see that it is there and may be read and written (`python -m cluster doctor`), then give the same command"


class StorageError(OSError):
    """S3 cannot be used: it does not answer, has no such bucket, or refuses."""


class ObjectChangedError(Exception):
    """A conditional write found another version than the expected one."""


@dataclass(frozen=True)
class Version:
    """One object as S3 had it: its content, its tag, and how many seconds ago it was written, by S3's clock."""

    content: bytes
    tag: str
    age_seconds: float


class Objects:
    """The files under `address` (`s3://bucket/prefix`), through a boto3 client, which threads may share."""

    def __init__(self, address: str, client: Any) -> None:
        storage = _parse(address)
        self.address, self.bucket, self.prefix = address.rstrip("/"), storage.bucket, f"{storage.prefix}/"
        self._client = client

    def names(self, under: str = "") -> dict[str, str]:
        """The tag of every file whose name begins with `under`, by name.

        Errors: UserError for a name that would lead out of the folder it is fetched to; StorageError.
        """
        with self._said():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix + under
            )
            found = [item for page in pages for item in page.get("Contents", ())]
        names = {item["Key"].removeprefix(self.prefix): item["ETag"] for item in found}
        for name in names:
            if name.startswith("/") or ".." in name.split("/"):
                raise UserError(self.address, f"an object named {name!r}", "remove it: no sweep writes such names")
        return names

    def get(self, name: str) -> Version | None:
        """A small file; None where there is none."""
        with self._said():
            try:
                answer = self._client.get_object(Bucket=self.bucket, Key=self.prefix + name)
            except self._client.exceptions.NoSuchKey:
                return None
            return Version(answer["Body"].read(), answer["ETag"], _age_seconds(answer))

    def put(self, name: str, content: bytes) -> None:
        with self._said():
            self._client.put_object(Bucket=self.bucket, Key=self.prefix + name, Body=content)

    def put_if(self, name: str, content: bytes, tag: str | None) -> str:
        """Replace the version with `tag`, or make the file where `tag` is None; returns the new tag.

        Errors: ObjectChangedError when another version is there.
        """
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        with self._said():
            try:
                answer = self._client.put_object(
                    Bucket=self.bucket, Key=self.prefix + name, Body=content, **condition
                )
            except ClientError as error:
                if error.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict", "404"):
                    raise ObjectChangedError(name) from error
                raise
            return str(answer["ETag"])

    def send(self, path: Path, name: str) -> None:
        """Copy a local file of any size to `name`. Errors: StorageError; OSError when it cannot be read."""
        with self._said(), path.open("rb") as stream:
            self._client.upload_fileobj(stream, self.bucket, self.prefix + name)

    def fetch(self, name: str, path: Path) -> None:
        """Copy `name` to a local file, whole or not at all.

        Errors: FileNotFoundError where there is none; StorageError; OSError when it cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._said():
            try:
                self._client.download_file(self.bucket, self.prefix + name, str(path))
            except ClientError as error:
                if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                    raise FileNotFoundError(errno.ENOENT, "no such object", f"{self.address}/{name}") from error
                raise

    def copy(self, name: str, to: Objects) -> None:
        """Copy a file to the same name under another prefix, within S3."""
        with self._said():
            source = {"Bucket": self.bucket, "Key": self.prefix + name}
            self._client.copy(source, to.bucket, to.prefix + name)

    def delete(self, names: Iterable[str]) -> None:
        for some in _batches(sorted(names), _PER_DELETE):
            with self._said():
                answer = self._client.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": [{"Key": self.prefix + name} for name in some], "Quiet": True},
                )
                if refused := answer.get("Errors"):
                    raise self._error(f"{refused[0]['Code']} for DeleteObjects")

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Errors: StorageError for whatever boto3 gave up on."""
        try:
            yield
        except ClientError as error:
            raise self._error(f"{error.response['Error'].get('Code')} for {error.operation_name}") from error
        except ResponseParserError as error:
            raise self._error("an answer that is not S3's") from error
        except (BotoCoreError, Boto3Error) as error:
            raise self._error(str(error).split(': "')[0]) from error  # without the address of the one request

    def _error(self, got: str) -> StorageError:
        """Without the file's name, so that trials that run into the same trouble say the same."""
        return StorageError(f"s3://{self.bucket}: got {got}; {_MEND}")


def open_objects(address: str) -> Objects:
    """The files under an address, with boto3's own settings. Errors: UserError for what is no address of S3."""
    import boto3
    from botocore.config import Config

    _parse(address)
    settings = Config(
        retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        connect_timeout=5,
        read_timeout=20,
        max_pool_connections=16,
    )
    try:
        return Objects(address, boto3.client("s3", config=settings))
    except (BotoCoreError, ValueError) as error:
        raise UserError(
            "AWS settings", f"settings that cannot be used ({error})", "mend them, then try again"
        ) from error


def require_storage(address: str) -> None:
    """See that files can be kept under an address, before anything rests on that: one is written and removed.

    Errors: UserError for what is no address of S3; StorageError, naming what S3 refuses.
    """
    objects = open_objects(address)
    objects.put(_TRIAL, b"")
    objects.delete([_TRIAL])


def _parse(address: str) -> Storage:
    try:
        return Storage.parse(address)
    except ClusterError as error:
        raise UserError("--storage", error.got, error.allowed) from error


def _age_seconds(answer: Mapping[str, Any]) -> float:
    """By S3's own clock where the answer has its time, for those of two machines may differ."""
    written: datetime = answer["LastModified"]
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    now = parsedate_to_datetime(date) if date else datetime.now(UTC)
    return max(0.0, (now - written).total_seconds())


def _batches(names: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]
