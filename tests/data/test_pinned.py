"""Data sets of the hub: the cache first, only the pinned revision, and advice at once where there is no network."""

from __future__ import annotations

import socket
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import datasets
import huggingface_hub.constants
import pytest

from paramalloc.data.hub_probes import SOURCES, hub_rows
from paramalloc.data.pinned import Part, PinnedDataset, import_datasets, require_parts
from paramalloc.errors import UserError

SOURCE = PinnedDataset("someone/texts", "a" * 40, "data.corpus", "do something else")


@dataclass
class Rows:
    """A split as `datasets` gives it, as far as its cache goes."""

    fetched: bool
    cache_files: list[dict[str, str]]


@pytest.mark.parametrize("cached_at", [None, "b" * 40, SOURCE.revision])
def test_the_pinned_revision_from_the_cache_or_the_hub(
    monkeypatch: pytest.MonkeyPatch, cached_at: str | None
) -> None:
    def load(path: str, name: str, split: str, revision: str) -> Rows:
        offline = datasets.config.HF_HUB_OFFLINE
        asked.append((path, name, split, revision))
        if offline and cached_at is None:
            raise FileNotFoundError("not in the cache")
        return Rows(not offline, [{"filename": f"/cache/{cached_at if offline else revision}/part.arrow"}])

    asked: list[tuple[str, str, str, str]] = []
    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr("paramalloc.data.pinned._hub_problem", lambda repository: None)
    rows = SOURCE.load("small", "train")
    assert rows.fetched is (cached_at != SOURCE.revision)
    assert set(asked) == {("someone/texts", "small", "train", SOURCE.revision)}
    assert not datasets.config.HF_HUB_OFFLINE


def test_what_the_hub_says_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object, **__: object) -> Rows:
        raise ValueError("no such config")

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr("paramalloc.data.pinned._hub_problem", lambda repository: None)
    with pytest.raises(
        UserError,
        match=r"data.corpus: got someone/texts.*no such config; run once with a network, or do something else",
    ):
        SOURCE.load("small", "train")


@pytest.mark.parametrize(
    ("offline", "reason"),
    [(False, r"the Hub cannot be reached \(no route\)"), (True, "HF_HUB_OFFLINE or HF_DATASETS_OFFLINE is set")],
)
def test_without_a_network_the_hub_is_asked_once_and_advice_given(
    monkeypatch: pytest.MonkeyPatch, offline: bool, reason: str
) -> None:
    """`datasets` itself, which would retry for half a minute, is not let near the network."""

    def load(*_: object, **__: object) -> Rows:
        assert datasets.config.HF_HUB_OFFLINE
        raise FileNotFoundError("not in the cache")

    def no_route(address: str, timeout: float) -> None:
        asked.append((address.partition("/api/")[2], timeout))
        raise OSError("no route")

    asked: list[tuple[str, float]] = []
    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(urllib.request, "urlopen", no_route)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    with pytest.raises(UserError, match=rf"smallbench.source: got aps/super_glue.*{reason}.*metrics=\[perplexity\]"):
        next(hub_rows("boolq"))
    assert asked == ([] if offline else [("datasets/aps/super_glue", 5.0)])


@pytest.mark.parametrize(("have", "missing"), [((), "someone/texts, other/rows"), (("someone/texts",), "other/rows")])
def test_all_that_cannot_be_had_is_named_at_once_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, have: tuple[str, ...], missing: str
) -> None:
    def load(path: str, name: str, split: str, revision: str) -> Rows:
        if path not in have:
            raise FileNotFoundError("not in the cache")
        return Rows(fetched=False, cache_files=[{"filename": f"/cache/{revision}/part.arrow"}])

    def no_route(address: str, timeout: float) -> None:
        asked.append(address)
        raise OSError("no route")

    asked: list[str] = []
    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(urllib.request, "urlopen", no_route)
    other = PinnedDataset("other/rows", "b" * 40, "evaluation.source", "leave it out")
    parts = [Part(SOURCE, "small", "train"), Part(SOURCE, "small", "test"), Part(other, "rows", "validation")]
    with pytest.raises(UserError) as refusal:
        require_parts(parts)
    assert refusal.value.got == f"{missing}, which cannot be loaded: the Hub cannot be reached (no route)"
    assert refusal.value.allowed.startswith("run once with a network, or ")
    assert refusal.value.allowed.endswith("leave it out")
    assert (refusal.value.place == "data.corpus and evaluation.source") == (not have)
    assert len(asked) == 1
    monkeypatch.setattr("paramalloc.data.pinned._hub_problem", lambda repository: None)
    require_parts(parts)  # somebody answers: they will be fetched when they are read


def test_probes_are_pinned_to_commits() -> None:
    assert all(len(source.revision) == 40 for source in SOURCES.values())


def test_loading_reports_to_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By itself `datasets` tells a server of every load, even of a local file."""
    asked: list[object] = []
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", True)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: asked.append(address))
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n')
    rows = import_datasets().load_dataset("json", data_files=str(tmp_path / "rows.jsonl"), cache_dir=str(tmp_path))
    assert rows["train"]["text"][:] == ["a"]
    assert not asked
