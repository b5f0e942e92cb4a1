"""S3 on loopback, for processes that are started from a test: moto behind a door that can be made to fail.

with S3Server() as s3:
    os.environ.update(s3.environment)
    s3.failing = True       # every request is answered with 503 from now on
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Self

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

from paramalloc.results import DRIVER
from paramalloc.storage.objects import Objects
from tests.loopback import LoopbackServer

BUCKET = "results-bucket"
_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class S3Server(LoopbackServer):
    """An account with one empty bucket; `address` is a prefix in it. A context manager."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.failing = False
        self._moto = DomainDispatcherApplication(create_backend_app)
        self.address = f"s3://{BUCKET}/sweeps"
        self.environment = {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "planted-key-id",
            "AWS_SECRET_ACCESS_KEY": "planted-secret-0123456789",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def __enter__(self) -> Self:
        super().__enter__()
        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket=BUCKET)
        return self

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self.failing:
            start_response("503 Slow Down", [("Content-Type", "application/xml")])
            return [_SLOW_DOWN]
        return self._moto(environ, start_response)


def let_lease_expire(stored: Objects) -> None:
    """What a minute does to the lease of a driver that was lost."""
    last = stored.get(DRIVER)
    if last:
        stored.put(DRIVER, last.content.replace(b'"alive": true', b'"alive": false'))
