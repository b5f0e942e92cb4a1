"""EC2's instance metadata service, as much of it as the agent needs: a few paths, by IMDSv2 tokens, quickly or not.

Always holds: a request takes at most its timeout per read, goes to the link-local address (or to
`AWS_EC2_METADATA_SERVICE_ENDPOINT`) and never through a proxy; only the paths named here are read, none of which
holds a credential; whatever goes wrong is `MetadataError`, and "there is none" (404) is None.
Facts: docs.aws.amazon.com/AWSEC2/latest/UserGuide, "spot-instance-termination-notices", "rebalance-recommendations",
"instance-identity-documents".
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cluster.errors import ClusterError
from cluster.notice import NodeRecord

ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
DISABLED_VARIABLE = "AWS_EC2_METADATA_DISABLED"
DEFAULT_ENDPOINT = "http://169.254.169.254"
TIMEOUT_SECONDS = 1.0
TOKEN_SECONDS = 21_600
MAX_ANSWER_BYTES = 65_536

TOKEN_PATH = "/latest/api/token"
MACHINE_PATH = "/latest/meta-data"
SPOT_PATH = f"{MACHINE_PATH}/spot/instance-action"
REBALANCE_PATH = f"{MACHINE_PATH}/events/recommendations/rebalance"
IDENTITY_PATH = "/latest/dynamic/instance-identity/document"


class MetadataError(Exception):
    """No usable answer: nobody there, too slow, a server error, or an answer that makes no sense."""


class _Unauthorized(Exception):
    """The token is missing or has expired."""


class MetadataClient:
    """One node's metadata service.

    Args:
        endpoint: such as `http://169.254.169.254`; see `from_environment`.
        timeout_seconds: the longest silence that is waited out.
    """

    def __init__(self, endpoint: str = DEFAULT_ENDPOINT, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.endpoint, self.timeout_seconds = endpoint.rstrip("/"), timeout_seconds
        self._token: str | None = None
        # Link-local: a proxy of the environment would answer for another machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> MetadataClient | None:
        """The client for this machine; None where the environment rules a metadata service out.

        Errors: ClusterError for an endpoint that is no HTTP address.
        """
        if environment.get(DISABLED_VARIABLE, "").lower() == "true":
            return None
        endpoint = environment.get(ENDPOINT_VARIABLE) or DEFAULT_ENDPOINT
        if not endpoint.startswith(("http://", "https://")):
            raise ClusterError(ENDPOINT_VARIABLE, repr(endpoint), f"give an address such as {DEFAULT_ENDPOINT}")
        return cls(endpoint)

    def record(self) -> NodeRecord:
        """What this machine is. Errors: MetadataError."""
        return NodeRecord(
            instance_id=self._text(f"{MACHINE_PATH}/instance-id"),
            instance_type=self._text(f"{MACHINE_PATH}/instance-type"),
            zone=self._text(f"{MACHINE_PATH}/placement/availability-zone"),
            lifecycle=self._text(f"{MACHINE_PATH}/instance-life-cycle"),
            launched_at=self._launched_at(),
        )

    def spot_notice(self) -> tuple[str, float] | None:
        """(action, deadline in Unix seconds) of the notice that stands, or None. Errors: MetadataError."""
        fields = self._json(SPOT_PATH)
        return None if fields is None else (_field(fields, "action"), _unix_seconds(_field(fields, "time")))

    def rebalance(self) -> float | None:
        """When EC2 recommended to move away (Unix seconds), or None. Errors: MetadataError."""
        fields = self._json(REBALANCE_PATH)
        return None if fields is None else _unix_seconds(_field(fields, "noticeTime"))

    def _launched_at(self) -> float | None:
        """When this start of the instance began (Unix seconds): `pendingTime` of the identity document."""
        fields = self._json(IDENTITY_PATH) or {}
        return _unix_seconds(_field(fields, "pendingTime")) if "pendingTime" in fields else None

    def _json(self, path: str) -> dict[str, Any] | None:
        text = self._text(path)
        try:
            fields = None if text is None else json.loads(text)
        except ValueError:
            raise MetadataError(f"{path} answered no JSON: {text!r}") from None
        if fields is not None and not isinstance(fields, dict):
            raise MetadataError(f"{path} answered {text!r}")
        return fields

    def _text(self, path: str) -> str | None:
        for _ in range(2):  # A token that expired is renewed once; a second refusal is a fault of the service.
            self._token = self._token or self._new_token()
            try:
                return self._request(path, {"X-aws-ec2-metadata-token": self._token})
            except _Unauthorized:
                self._token = None
        raise MetadataError(f"{path} refuses a fresh token")

    def _new_token(self) -> str:
        try:
            token = self._request(TOKEN_PATH, {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}, "PUT")
        except _Unauthorized:
            token = None
        if not token or not token.isascii() or not token.isprintable():
            raise MetadataError(f"{TOKEN_PATH} gives no token")
        return token

    def _request(self, path: str, headers: dict[str, str], method: str = "GET") -> str | None:
        """The answer's text, None for 404. Errors: _Unauthorized, MetadataError."""
        request = urllib.request.Request(self.endpoint + path, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=self.timeout_seconds) as answer:
                return str(answer.read(MAX_ANSWER_BYTES).decode("utf-8", "replace")).strip()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == http.HTTPStatus.NOT_FOUND:
                return None
            if error.code == http.HTTPStatus.UNAUTHORIZED:
                raise _Unauthorized from None
            raise MetadataError(f"{path} answered {error.code}") from None
        except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors.
            raise MetadataError(f"{path}: {getattr(error, 'reason', error) or type(error).__name__}") from None


def _field(fields: dict[str, Any], name: str) -> str:
    if not isinstance(fields.get(name), str):
        raise MetadataError(f"no {name} in {fields!r}")
    return str(fields[name])


def _unix_seconds(text: str) -> float:
    """`2026-01-31T08:22:00Z` in Unix seconds; a time without zone is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise MetadataError(f"no time: {text!r}") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
