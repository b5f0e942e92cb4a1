"""A results folder and its copy in S3 over several drivers, heads that vanish and drivers that meet."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from paramalloc.errors import UserError
from paramalloc.results import DRIVER, ResultsFolder
from paramalloc.storage import lease as lease_module
from paramalloc.storage.lease import Lease, take_lease
from paramalloc.storage.mirror import Mirror
from paramalloc.storage.objects import ObjectChangedError, Objects, StorageError, open_objects
from paramalloc.storage.session import fetch, stored


def write(folder: ResultsFolder, name: str, text: str) -> None:
    path = folder.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def files(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): path.read_text()
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def in_storage(objects: Objects) -> set[str]:
    return objects.names().keys() - {DRIVER}


@pytest.fixture
def head(objects: Objects, tmp_path: Path) -> Callable[[str], ResultsFolder]:
    """The results folder on a head of this name."""
    return lambda name: ResultsFolder(tmp_path / name / "tiny", objects.address)


@pytest.fixture
def said() -> list[str]:
    return []


def unheard() -> None:
    """Nobody is there to be told that the lease has gone."""


def lose_head(folder: ResultsFolder, objects: Objects, content: dict[str, str]) -> None:
    """A driver writes, its mirror sends, and then it is gone without a word."""
    current = lease_module.newest_copy(objects)
    lease = take_lease(objects, current or "lost-head", unheard)
    lease.complete()
    for name, text in content.items():
        write(folder, name, text)
    folder.copy_name.write_text(lease.copy)
    Mirror(folder, lease, lambda text: None).push()


CONTENT = {"sweep.yaml": "name: tiny", "ranking/wide/history.jsonl": '{"tokens": 1}\n', "decisions.jsonl": "{}\n"}


def test_everything_but_what_workers_store_is_there_at_the_end_and_stays_as_it_was(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str]
) -> None:
    folder = head("a")
    folder.root.mkdir(parents=True)
    with stored(folder, said.append):
        for name, text in CONTENT.items():
            write(folder, name, text)
        write(folder, ".lock", "mine")
        write(folder, "ranking/wide/checkpoint/step-00000001/manifest.json", "{}")
        write(folder, "ranking/wide/tensorboard/events.0", "")
    assert in_storage(objects) == CONTENT.keys()
    before = {name: text for name, text in files(folder.root).items() if name in CONTENT}
    with stored(folder, said.append):
        folder.decisions.unlink()
    assert in_storage(objects) == CONTENT.keys() - {"decisions.jsonl"}
    assert before == CONTENT
    assert not said


def test_a_new_head_carries_on_with_what_the_lost_one_had_stored(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lose_head(head("a"), objects, CONTENT)
    with pytest.raises(UserError, match="another driver is writing"), stored(head("b"), said.append):
        pass
    monkeypatch.setattr(lease_module, "DEAD_AFTER_SECONDS", 0.0)
    with stored(head("b"), said.append):
        assert files(head("b").root) == CONTENT
        write(head("b"), "decisions.jsonl", "{}\n{}\n")
    assert said == [f"taking over the results in {objects.address}"]
    with stored(head("a"), said.append):  # the lost one is back, with what it had
        assert files(head("a").root) == CONTENT | {"decisions.jsonl": "{}\n{}\n"}


def test_the_same_folder_carries_on_at_once_with_what_was_not_sent_yet(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str]
) -> None:
    lose_head(head("a"), objects, CONTENT)
    write(head("a"), "events.jsonl", "not sent yet")
    with stored(head("a"), said.append):
        assert files(head("a").root) == CONTENT | {"events.jsonl": "not sent yet"}
    assert in_storage(objects) == CONTENT.keys() | {"events.jsonl"}


def test_results_that_were_made_without_storage_are_stored_whole(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str]
) -> None:
    checkpoint = {"finalists/wide-seed0/checkpoint/best/manifest.json": "{}"}
    for name, text in (CONTENT | checkpoint).items():
        write(head("a"), name, text)
    with stored(head("a"), said.append):
        pass
    assert in_storage(objects) == CONTENT.keys() | checkpoint.keys()


def test_other_results_are_never_overwritten(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str], tmp_path: Path
) -> None:
    with stored(head("a"), said.append):
        write(head("a"), "sweep.yaml", "name: tiny")
    write(head("b"), "sweep.yaml", "another")
    with pytest.raises(UserError, match="never were in storage"), stored(head("b"), said.append):
        pass
    with pytest.raises(UserError, match="never were in storage"):
        fetch(objects.address, head("b").root, whole=False)
    assert files(head("b").root) == {"sweep.yaml": "another"}


def test_what_no_sweep_has_put_there_is_neither_cleared_nor_mixed_with_results(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str]
) -> None:
    objects.put("thesis.tex", b"years of work")
    folder = head("a")
    folder.root.mkdir(parents=True)
    refusal = pytest.raises(UserError, match=r"no sweep has put there, such as thesis\.tex; give --storage a prefix")
    with refusal, stored(folder, said.append):
        raise AssertionError("a sweep has begun")
    assert objects.names().keys() == {"thesis.tex"}


def test_a_fresh_start_sets_aside_what_is_stored(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str]
) -> None:
    with stored(head("a"), said.append):
        write(head("a"), "sweep.yaml", "old")
    with stored(head("b"), said.append, aside=".old-1"):
        assert files(head("b").root) == {}
        write(head("b"), "sweep.yaml", "new")
    aside = open_objects(f"{objects.address}.old-1")
    assert aside.names().keys() == {"sweep.yaml"}
    found, old = objects.get("sweep.yaml"), aside.get("sweep.yaml")
    assert found is not None
    assert old is not None
    assert (found.content, old.content) == (b"new", b"old")


def test_fetching_brings_checkpoints_only_when_asked_and_again_what_is_new(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str], tmp_path: Path
) -> None:
    checkpoint = "finalists/wide-seed0/checkpoint/best/manifest.json"
    with pytest.raises(UserError, match=r"no sweep\.yaml there"):
        fetch(objects.address, tmp_path / "copy", whole=False)
    with stored(head("a"), said.append):
        write(head("a"), "sweep.yaml", "name: tiny")
        objects.put(checkpoint, b"{}")
    fetch(objects.address, tmp_path / "copy", whole=False)
    assert files(tmp_path / "copy") == {"sweep.yaml": "name: tiny"}
    with stored(head("a"), said.append):
        write(head("a"), "REPORT.md", "done")
    fetch(objects.address, tmp_path / "copy", whole=True)
    assert files(tmp_path / "copy") == {"sweep.yaml": "name: tiny", "REPORT.md": "done", checkpoint: "{}"}


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


def test_storage_that_is_away_for_a_while_is_said_once_and_made_up_for(
    head: Callable[[str], ResultsFolder],
    objects: Objects,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("paramalloc.storage.mirror.PUSH_SECONDS", 0.01)
    put, away = Objects.put, [True]

    def failing(self: Objects, name: str, content: bytes) -> None:
        if away[0]:
            raise StorageError("s3://results-bucket: got SlowDown")
        put(self, name, content)

    with stored(head("a"), said.append):
        monkeypatch.setattr(Objects, "put", failing)
        write(head("a"), "sweep.yaml", "name: tiny")
        while not said:
            pass
        away[0] = False
        while len(said) < 2:
            pass
    assert "kept in" in said[0]
    assert "SlowDown" in said[0]
    assert said[1] == "results are stored again"
    assert in_storage(objects) == {"sweep.yaml"}


def test_results_that_could_not_be_stored_are_an_error_at_the_end(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Objects, name: str, content: bytes) -> None:
        raise StorageError("s3://results-bucket: got AccessDenied")

    with ExitStack() as session:
        session.enter_context(stored(head("a"), said.append))
        monkeypatch.setattr(Objects, "put", failing)
        write(head("a"), "sweep.yaml", "name: tiny")
        with pytest.raises(StorageError, match="AccessDenied"):
            session.close()


def test_no_file_is_stored_before_one_that_it_rests_on(
    head: Callable[[str], ResultsFolder], objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a new head finds if the old one is lost between any two files."""
    folder = head("a")
    lease = take_lease(objects, "a", unheard)
    for name in ("COST_SUMMARY.json", "events.jsonl", "sweep.yaml", "plan.json", "decisions.jsonl"):
        write(folder, name, "")
    for name in ("metrics.json", "history.jsonl", "config.yaml"):
        write(folder, f"ranking/wide/{name}", "")
    sent: list[str] = []
    monkeypatch.setattr(Objects, "put", lambda self, name, content: sent.append(name))
    Mirror(folder, lease, lambda text: None).push()
    place = {name.split("/")[-1]: number for number, name in enumerate(sent)}
    assert place["events.jsonl"] < place["history.jsonl"] < place["decisions.jsonl"] < place["metrics.json"]
    assert place["plan.json"] < place["sweep.yaml"] < place["history.jsonl"]
    assert place["COST_SUMMARY.json"] > place["metrics.json"]


@pytest.mark.parametrize("name", ["../../outside.txt", "ranking/../../outside.txt", "/outside.txt"])
def test_a_stored_name_that_leads_out_of_the_folder_is_refused(objects: Objects, tmp_path: Path, name: str) -> None:
    objects.put("sweep.yaml", b"name: tiny\n")
    objects.put(name, b"evil")
    with pytest.raises(UserError, match="remove it"):
        fetch(objects.address, tmp_path / "deep" / "er" / "tiny", whole=True)
    assert not list(tmp_path.rglob("outside.txt"))


LOCAL = CONTENT | {
    "finalists/wide-seed0/checkpoint/best/manifest.json": "{}",
    "ranking/wide/checkpoint/step-00000010/manifest.json": "{}",
}


def written_here(folder: ResultsFolder, content: dict[str, str]) -> ResultsFolder:
    for name, text in content.items():
        write(folder, name, text)
    return folder


class Cut:
    """Ends the driver, as Ctrl-C would, at the call of a method of `Objects` for a name that ends like this."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, method: str, ending: str) -> None:
        real: Callable[..., object] = getattr(Objects, method)
        self.on = True

        def cut(objects: Objects, *arguments: object) -> object:
            if self.on and any(str(argument).endswith(ending) for argument in arguments):
                raise KeyboardInterrupt
            return real(objects, *arguments)

        monkeypatch.setattr(Objects, method, cut)


@pytest.mark.parametrize("ending", ["best/manifest.json", "step-00000010/manifest.json", "decisions.jsonl"])
def test_a_first_upload_that_was_interrupted_is_made_again_with_every_checkpoint(
    head: Callable[[str], ResultsFolder],
    objects: Objects,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
) -> None:
    folder = written_here(head("a"), LOCAL)
    cut = Cut(monkeypatch, "send", ending)
    with pytest.raises(KeyboardInterrupt), stored(folder, said.append):
        pass
    assert "sweep.yaml" not in in_storage(objects)
    cut.on = False
    with stored(folder, said.append):
        pass
    assert in_storage(objects) == LOCAL.keys()
    assert files(folder.root) == LOCAL


def test_a_folder_whose_first_upload_was_interrupted_is_not_overwritten_by_who_came_meanwhile(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written_here(head("a"), LOCAL)
    cut = Cut(monkeypatch, "send", "manifest.json")
    with pytest.raises(KeyboardInterrupt), stored(folder, said.append):
        pass
    cut.on = False
    with stored(head("b"), said.append):
        write(head("b"), "sweep.yaml", "another")
    with pytest.raises(UserError, match="never were in storage"), stored(folder, said.append):
        pass
    assert files(folder.root) == LOCAL


def test_a_new_head_that_was_interrupted_while_fetching_goes_on_at_once(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with stored(head("a"), said.append):
        written_here(head("a"), CONTENT | {"tokenizer-600.json": "{}"})
    cut = Cut(monkeypatch, "fetch", "tokenizer-600.json")  # the one after sweep.yaml
    with pytest.raises(KeyboardInterrupt), stored(head("b"), said.append):
        pass
    assert head("b").sweep.exists()
    with pytest.raises(KeyboardInterrupt):
        fetch(objects.address, head("c").root, whole=False)
    cut.on = False
    assert lease_module.newest_copy(objects) == head("a").copy_name.read_text()
    for name in ("b", "a"):
        with stored(head(name), said.append):
            assert files(head(name).root) == CONTENT | {"tokenizer-600.json": "{}"}
    assert said == [f"taking over the results in {objects.address}"] * 3
    fetch(objects.address, head("c").root, whole=False)
    assert files(head("c").root) == CONTENT | {"tokenizer-600.json": "{}"}


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


def test_what_a_fresh_start_was_interrupted_in_removing_is_no_trials_checkpoint(
    head: Callable[[str], ResultsFolder], objects: Objects, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with stored(written_here(head("a"), LOCAL), said.append):
        pass
    delete, calls = Objects.delete, []

    def only_the_first(self: Objects, names: Iterable[str]) -> None:
        calls.append(sorted(names))
        if len(calls) > 1:
            raise StorageError("s3://results-bucket: got SlowDown")
        delete(self, calls[0])

    monkeypatch.setattr(Objects, "delete", only_the_first)
    with pytest.raises(StorageError), stored(head("b"), said.append, aside=".old-1"):
        pass
    monkeypatch.setattr(Objects, "delete", delete)
    assert open_objects(f"{objects.address}.old-1").names().keys() == LOCAL.keys()
    with stored(head("b"), said.append):
        assert in_storage(objects) == set()


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
