"""A metadata service over real HTTP, as EC2's behaves: tokens by PUT, 401 without one, 404 until there is something.

    with MetadataService() as service:
        service.spot_notice("terminate", deadline)      # and service.withdraw(), service.recommend_rebalance(time)
        service.mode = "hang"                           # or "error" (503), "garbage", "ok"

`service.requests` has every request so far, `service.expire_tokens()` makes all tokens unknown.
"""

from __future__ import annotations

import json
import secrets
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

META = "/latest/meta-data/"
IDENTITY = "/latest/dynamic/instance-identity/document"
LAUNCHED_AT = 1_749_999_880.0
SPOT, REBALANCE = META + "spot/instance-action", META + "events/recommendations/rebalance"
MACHINE = {
    "instance-id": "i-0123456789abcdef0",
    "instance-type": "g5.xlarge",
    "placement/availability-zone": "us-east-1b",
    "instance-life-cycle": "spot",
}


class MetadataService:
    """Listens on loopback from the start to the end of a `with` block."""

    def __init__(self) -> None:
        self.mode = "ok"
        self.requests: list[tuple[str, str]] = []
        self.answers: dict[str, str] = {META + name: value for name, value in MACHINE.items()}
        self.launch(LAUNCHED_AT)
        self.broken: set[str] = set()
        self.tokens: set[str] = set()
        self.release = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> MetadataService:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def launch(self, time: float) -> None:
        self.answers[IDENTITY] = json.dumps({"pendingTime": _utc(time), "region": "us-east-1"})

    def spot_notice(self, action: str, deadline: float) -> None:
        self.answers[SPOT] = json.dumps({"action": action, "time": _utc(deadline)})

    def withdraw(self) -> None:
        del self.answers[SPOT]

    def recommend_rebalance(self, time: float) -> None:
        self.answers[REBALANCE] = json.dumps({"noticeTime": _utc(time)})

    def expire_tokens(self) -> None:
        self.tokens.clear()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        pass  # Somebody did not wait for the answer.


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _handler(service: MetadataService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            self._serve(self._new_token)

        def do_GET(self) -> None:
            self._serve(self._metadata)

        def _serve(self, answer: Any) -> None:
            service.requests.append((self.command, self.path))
            if service.mode == "hang":
                service.release.wait()
                self.close_connection = True
            elif service.mode == "error" or self.path in service.broken:
                self._send(503, "busy")
            elif service.mode == "garbage":
                self._send(200, "<html>\x00")
            else:
                answer()

        def _new_token(self) -> None:
            if self.path != "/latest/api/token":
                self._send(404, "")
            elif not self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "").isdigit():
                self._send(400, "")
            else:
                service.tokens.add(token := secrets.token_hex(8))
                self._send(200, token)

        def _metadata(self) -> None:
            if self.headers.get("X-aws-ec2-metadata-token") not in service.tokens:
                self._send(401, "")
            elif self.path in service.answers:
                self._send(200, service.answers[self.path])
            else:
                self._send(404, "not found")

        def _send(self, status: int, body: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
