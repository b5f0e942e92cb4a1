"""Heads that write results, and vanish; what is in a folder and in storage."""

from __future__ import annotations

from pathlib import Path

from paramalloc.results import DRIVER, ResultsFolder
from paramalloc.storage import lease as lease_module
from paramalloc.storage.lease import take_lease
from paramalloc.storage.mirror import Mirror
from paramalloc.storage.objects import Objects


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
LOCAL = CONTENT | {
    "finalists/wide-seed0/checkpoint/best/manifest.json": "{}",
    "ranking/wide/checkpoint/step-00000010/manifest.json": "{}",
}


def written_here(folder: ResultsFolder, content: dict[str, str]) -> ResultsFolder:
    for name, text in content.items():
        write(folder, name, text)
    return folder
