"""A results folder and its copy in S3 over several drivers, and heads that vanish."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from paramalloc.errors import UserError
from paramalloc.results import ResultsFolder
from paramalloc.storage import lease as lease_module
from paramalloc.storage.lease import take_lease
from paramalloc.storage.mirror import Mirror
from paramalloc.storage.objects import Objects, StorageError, open_objects
from paramalloc.storage.session import fetch, stored
from tests.storage.heads import CONTENT, files, in_storage, lose_head, unheard, write


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
