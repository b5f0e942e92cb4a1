"""What calls a trial back from its machine: a spot notice there, or the driver's wish to stop.

Always holds: asking costs a training step some ten microseconds, because a thread of its own talks to Ray's key-value
store, so it works with or without a shared file system; when the head is away, training goes on. A worker that was
given up for lost and still lives (a host that was silent for a while) ends itself as soon as it sees its successor.

    request_stop(session)                              # the driver
    with Recall(session, "ranking/emb45") as recall:   # the worker
        recall.reason()                                # None, or why to checkpoint and leave
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from pathlib import Path
from types import TracebackType

from ray.exceptions import RayError
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put

from cluster import Notice, pending
from cluster.notice import notice_path

NAMESPACE = "paramalloc"
POLL_SECONDS = 0.5
STOP_REASON = "the driver stops"


def request_stop(session: str) -> None:
    """Ask every trial of this session of the driver to checkpoint and leave."""
    _internal_kv_put(_stop_key(session), b"1", namespace=NAMESPACE)


def forget(session: str) -> None:
    """Remove what a session left in Ray's store."""
    _internal_kv_del(_stop_key(session), namespace=NAMESPACE)
    _internal_kv_del(_owner_key(session, ""), del_by_prefix=True, namespace=NAMESPACE)


class Recall:
    """One attempt's ear for being called back; a context manager around the attempt.

    Args:
        session: the driver's, names the request to stop.
        trial: `stage/name`; the newest attempt at a trial is its owner.
        flag: the node's notice file, default where the node agent writes it.
    """

    def __init__(self, session: str, trial: str, flag: Path | None = None) -> None:
        self.session, self.trial, self.flag = session, trial, flag or notice_path()
        self._own_name = uuid.uuid4().bytes
        self._stop_requested = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="recall", daemon=True)

    def __enter__(self) -> Recall:
        _internal_kv_put(_owner_key(self.session, self.trial), self._own_name, namespace=NAMESPACE)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    def notice(self) -> Notice | None:
        """The spot notice that stands on this node."""
        return pending(self.flag)

    def reason(self) -> str | None:
        """Why the trial should leave now, in words; None while it may stay."""
        if self._stop_requested:
            return STOP_REASON
        notice = self.notice()
        return f"spot notice ({notice.action})" if notice else None

    def wait_while_called(self, seconds: float) -> str | None:
        """Give a notice that stands at the start up to `seconds` to be withdrawn; the reason that is left then."""
        until = time.monotonic() + seconds
        while (reason := self.reason()) and reason != STOP_REASON and time.monotonic() < until:
            self._over.wait(POLL_SECONDS)
        return reason

    def _listen(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            try:
                owner = _internal_kv_get(_owner_key(self.session, self.trial), namespace=NAMESPACE)
                self._stop_requested = _internal_kv_get(_stop_key(self.session), namespace=NAMESPACE) is not None
            except RayError:
                continue
            if owner not in (None, self._own_name) and not self._over.is_set():
                os._exit(1)  # Nothing may be saved any more: the successor writes to the same folder.


def _stop_key(session: str) -> str:
    return f"stop:{session}"


def _owner_key(session: str, trial: str) -> str:
    return f"owner:{session}:{trial}"
