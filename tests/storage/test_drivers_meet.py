"""Two drivers on one copy in S3: one has the lease, and the other finds out."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from paramalloc.errors import UserError
from paramalloc.results import DRIVER, ResultsFolder
from paramalloc.storage import lease as lease_module
from paramalloc.storage.lease import Lease, take_lease
from paramalloc.storage.objects import ObjectChangedError, Objects
from paramalloc.storage.session import fetch, stored
from tests.storage.heads import CONTENT, LOCAL, files, in_storage, unheard, write, written_here


def be_overtaken(folder: ResultsFolder, objects: Objects, said: list[str]) -> None:
    with stored(folder, said.append):
        write(folder, "sweep.yaml", "mine")
        while (now := objects.get(DRIVER)) and json.loads(now.content)["copy"] != "other":
            with suppress(ObjectChangedError):  # it was renewed in between
                objects.put_if(DRIVER, b'{"copy": "other", "alive": true}', now.tag)
        signal.pause()


def test_a_driver_whose_place_was_taken_stops_and_sends_nothing_more(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("paramalloc.storage.mirror.PUSH_SECONDS", 0.01)
    monkeypatch.setattr("paramalloc.storage.lease.RENEW_SECONDS", 0.01)
    with pytest.raises(KeyboardInterrupt):
        be_overtaken(head("a"), objects, said)
    assert "another driver has taken over" in said[-1]
    write(head("a"), "REPORT.md", "mine")
    assert "REPORT.md" not in in_storage(objects)


def test_who_is_refused_leaves_the_lease_as_it_was(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str]
) -> None:
    with stored(head("a"), said.append):
        write(head("a"), "sweep.yaml", "name: tiny")
    before = objects.get(DRIVER)
    other = written_here(head("b"), CONTENT)
    with pytest.raises(UserError, match="never were in storage"), stored(other, said.append):
        pass
    after = objects.get(DRIVER)
    assert before
    assert after
    assert before.tag == after.tag


def test_the_lease_is_renewed_while_a_long_upload_goes_on(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = threading.Event()
    write_entry, send = Lease.write, Objects.send

    def write_and_tell(self: Lease, alive: bool) -> None:
        write_entry(self, alive)
        if threading.current_thread() is not threading.main_thread():
            renewed.set()

    def slow(self: Objects, path: Path, name: str) -> None:
        assert renewed.wait(60)
        send(self, path, name)

    monkeypatch.setattr(lease_module, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(Lease, "write", write_and_tell)
    monkeypatch.setattr(Objects, "send", slow)
    with stored(written_here(head("a"), LOCAL), said.append):
        pass
    assert in_storage(objects) == LOCAL.keys()


def test_a_renewal_whose_answer_was_lost_is_no_other_driver(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = take_lease(objects, "a", unheard)
    put_if = Objects.put_if

    def without_an_answer(self: Objects, name: str, content: bytes, tag: str | None) -> str:
        monkeypatch.setattr(Objects, "put_if", put_if)
        put_if(self, name, content, tag)
        raise ObjectChangedError(name)  # what the request meets when it is repeated

    monkeypatch.setattr(Objects, "put_if", without_an_answer)
    lease.complete()
    assert lease_module.newest_copy(objects) == "a"
    lease.write(alive=False)


def test_results_that_a_driver_removes_while_they_are_fetched_are_left_out(
    head: Callable[[str], ResultsFolder], objects: Objects, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, text in (CONTENT | {"REPORT.md": "old"}).items():
        objects.put(name, text.encode())
    real = Objects.names

    def then_removed(self: Objects, under: str = "") -> dict[str, str]:
        found = real(self, under)
        self.delete(set(found) & {"REPORT.md"})
        return found

    monkeypatch.setattr(Objects, "names", then_removed)
    fetch(objects.address, tmp_path / "copy", whole=False)
    assert files(tmp_path / "copy") == CONTENT
