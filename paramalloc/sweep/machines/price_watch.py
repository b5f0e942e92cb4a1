"""Prices of rented machines, followed in a thread of its own: a slow AWS never holds the driver up.

Always holds: nothing is contacted until a machine joins that its agent calls an EC2 instance, so never for a machine
of one's own; the thread writes no file, its rows and news wait for the driver's `tick`; it ends within seconds of
`close`, whatever AWS does. With `cost.prices: fixed` nobody is asked, and such a machine costs what the file says.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NoReturn

from cost import ledger
from cost.ledger import Row
from cost.sampler import PriceSampler
from cost.sources import OnDemandPrices, PriceUnavailableError, Retry, SpotHistory, connect
from paramalloc.files import append_jsonl, read_jsonl
from paramalloc.sweep.journal import Journal

LOOK_SECONDS = 5.0  # of the thread; the sampler knows when it is time to ask
LAST_WORD_SECONDS = 5.0  # that the end of a sweep waits for an answer that is on its way
_ZONE = re.compile(r"(?P<region>[a-z]+(?:-[a-z]+)+-\d+)\S*")  # us-east-1a, also a local zone such as us-west-2-lax-1a
Connect = Callable[[str | None], tuple[Any, Any, str]]


class PriceWatch:
    """Follows the price of each rented machine that it is told of; a context manager around the thread.

    Args:
        journal: where price rows go.
        connect: gives the EC2 and pricing clients and the region.
    """

    def __init__(self, journal: Journal, connect: Connect = connect) -> None:
        self.journal, self._connect = journal, connect
        self._nodes: queue.SimpleQueue[Row | None] = queue.SimpleQueue()  # rows of `node_up`; None: the end
        self._found: queue.SimpleQueue[Row | str] = queue.SimpleQueue()  # rows to be written, words to be said
        self._samplers: dict[str, PriceSampler] = {}  # by region
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="prices", daemon=True)

    def __enter__(self) -> PriceWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def joined(self, node: Mapping[str, Any]) -> None:
        """A machine is there, as its `node_up` row says; one that is not rented has no lifecycle.

        What the user says that it costs is written down, so that the bill does not change when that does.
        """
        own = node["lifecycle"] is None
        if own or self.journal.cost.prices == "fixed":
            about = {"node": node["node"], "lifecycle": ledger.OWN if own else None, "source": ledger.FIXED_SOURCE}
            usd = self.journal.cost.fixed_usd_per_hour
            append_jsonl(self.journal.folder.events, ledger.price(time=node["time"], usd_per_hour=usd, **about))
        elif node["instance_type"] and node["zone"]:
            if not self._thread.is_alive():
                self._thread.start()
            self._nodes.put(dict(node))

    def tick(self) -> None:
        """Write down and say what the thread has found out since."""
        while True:
            try:
                found = self._found.get_nowait()
            except queue.Empty:
                return
            if isinstance(found, str):
                self.journal.tell("prices", found)
            else:
                append_jsonl(self.journal.folder.events, found)

    def close(self) -> None:
        if self._thread.is_alive():
            self._nodes.put(None)
            self._thread.join(LAST_WORD_SECONDS)
            self._ending.set()
            self._thread.join(LAST_WORD_SECONDS)
        self.tick()

    def _follow(self) -> None:
        while not self._ending.is_set():
            try:
                node = self._nodes.get(timeout=LOOK_SECONDS)
                if node is None:
                    return
                region = _region(node["zone"])
                since = node["launched_at"] or node["time"]
                self._sampler(region).watch(node["instance_type"], node["zone"], node["lifecycle"], since)
            except queue.Empty:
                pass
            for sampler in self._samplers.values():
                for text in sampler.tick(self.journal.clock()):
                    self._found.put(text)

    def _sampler(self, region: str | None) -> PriceSampler:
        key = region or ""
        if key not in self._samplers:
            try:
                ec2, pricing, region = self._connect(region)
            except PriceUnavailableError as error:
                ec2 = pricing = _Silent(str(error))
            retry = Retry(sleep=self._pause)
            self._samplers[key] = PriceSampler(
                SpotHistory(ec2, retry),
                OnDemandPrices(pricing, region or "", retry),
                append=self._found.put,
                known=read_jsonl(self.journal.folder.events),
            )
        return self._samplers[key]

    def _pause(self, seconds: float) -> None:
        if self._ending.wait(seconds):
            raise PriceUnavailableError("the sweep ends")


class _Silent:
    """Stands for both clients where AWS's settings make none."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def describe_spot_price_history(self, **request: Any) -> NoReturn:
        raise PriceUnavailableError(self.reason)

    get_products = describe_spot_price_history


def _region(zone: str) -> str | None:
    """The region of an EC2 zone; None for a name that is none, so that AWS's own settings decide."""
    found = _ZONE.fullmatch(zone)
    return found["region"] if found else None
