"""Checkpoints: what was saved comes back; what is damaged is stepped over; nothing half written is ever read."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from paramalloc.files import read_json, write_json
from paramalloc.training.checkpoint import CheckpointStore


def model(value: float) -> nn.Linear:
    linear = nn.Linear(4, 4)
    nn.init.constant_(linear.weight, value)
    return linear


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, said: list[str]) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "checkpoint", notify=said.append)
    for step in (10, 20, 30):
        store.save(step, model(step), {"step": step, "rows": [{"tokens": step}], "sum": torch.tensor(1.5)})
    return store


def names(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def weight_of(store: CheckpointStore) -> float:
    checkpoint = store.newest()
    assert checkpoint is not None
    fresh = model(0)
    checkpoint.load_weights(fresh)
    assert checkpoint.training["step"] == checkpoint.step
    return fresh.weight[0, 0].item()


def test_the_newest_comes_back_whole_and_only_two_are_kept(store: CheckpointStore) -> None:
    assert weight_of(store) == 30
    assert store.newest().training["rows"] == [{"tokens": 30}]
    assert names(store) == ["step-00000020", "step-00000030"]


def test_an_empty_store_has_none(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "none").newest() is None


@pytest.mark.parametrize("name", ["model.safetensors", "training.pt", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "delete"])
def test_a_damaged_newest_one_is_stepped_over_and_said(
    store: CheckpointStore, said: list[str], name: str, damage: str
) -> None:
    path = store.folder / "step-00000030" / name
    data = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
    else:
        path.unlink()
    assert weight_of(store) == 20
    assert len(said) == 1
    assert "step-00000030 cannot be used" in said[0]


def test_a_damaged_step_can_be_saved_again(store: CheckpointStore) -> None:
    (store.folder / "step-00000030" / "training.pt").unlink()
    store.save(30, model(31), {"step": 30})
    assert weight_of(store) == 31


@pytest.mark.parametrize(
    "damaged",
    [
        b"\xff\x00",
        b"{",
        b"[]",
        b'{"format": 2}',
        b'{"format": 2, "step": 30, "sha256": 5}',
        b'{"format": 2, "step": 30, "sha256": {}}',
    ],
)
def test_a_manifest_that_is_none_is_stepped_over_and_said(
    store: CheckpointStore, said: list[str], damaged: bytes
) -> None:
    (store.folder / "step-00000030" / "manifest.json").write_bytes(damaged)
    assert weight_of(store) == 20
    assert len(said) == 1
    assert "step-00000030 cannot be used (manifest.json" in said[0]


def test_a_manifest_of_another_step_is_stepped_over(store: CheckpointStore, said: list[str]) -> None:
    manifest = store.folder / "step-00000030" / "manifest.json"
    write_json(manifest, {**read_json(manifest), "step": 31})
    assert weight_of(store) == 20
    assert len(said) == 1


@pytest.mark.parametrize("version", [None, 1, 99])
def test_a_checkpoint_of_another_format_is_stepped_over_and_said(
    store: CheckpointStore, said: list[str], version: int | None
) -> None:
    manifest = store.folder / "step-00000030" / "manifest.json"
    write_json(manifest, {**read_json(manifest), "format": version})
    assert weight_of(store) == 20
    assert f"step-00000030 cannot be used (format {version}" in said[0]


def test_after_stepping_over_all_of_them_a_new_start_is_kept(store: CheckpointStore) -> None:
    for folder in store.folder.iterdir():
        (folder / "training.pt").unlink()
    assert store.newest() is None
    store.save(5, model(5), {"step": 5})
    assert weight_of(store) == 5
    assert names(store) == ["step-00000005"]


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_save_that_dies_half_way_leaves_the_one_before(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def dies(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, dies)
        with pytest.raises(OSError, match="No space"):
            store.save(40, model(40), {"step": 40})
    assert weight_of(store) == 30
    assert names(store) == ["step-00000020", "step-00000030"]
    store.save(40, model(40), {"step": 40})
    assert weight_of(store) == 40


@pytest.mark.parametrize("limit", [0, 100, 700, 2000])
def test_a_disk_that_fills_up_in_the_midst_of_a_file_is_an_os_error(store: CheckpointStore, limit: int) -> None:
    training = {"step": 40, "sum": torch.zeros(1000)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # stands for a full disk: writes stop half way
    try:
        with pytest.raises(OSError, match="too large"):
            store.save(40, model(40), training)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(store) == ["step-00000020", "step-00000030"]
    assert weight_of(store) == 30


def test_what_a_killed_process_left_is_swept_away(store: CheckpointStore) -> None:
    (store.folder / ".writing-step-00000040-x").mkdir()
    CheckpointStore(store.folder).save(50, model(50), {"step": 50})
    assert names(store) == ["step-00000030", "step-00000050"]


def test_a_best_one_that_cannot_be_replaced_stays(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save_best(15, model(15), {"dev_loss": 1.0})
    rename = os.rename

    def second_fails(source: Path, target: Path) -> None:
        if source.name.startswith(".writing") and "replaced" not in source.name:
            raise OSError(5, "Input/output error")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", second_fails)
        with pytest.raises(OSError, match="Input/output"):
            store.save_best(25, model(25), {"dev_loss": 0.5})
    assert store.best().step == 15
    assert names(store) == ["best", "step-00000020", "step-00000030"]


def test_a_process_that_was_thought_dead_does_no_harm(store: CheckpointStore) -> None:
    behind = CheckpointStore(store.folder)
    behind.save(22, model(22), {"step": 22})
    assert weight_of(store) == 30
    (store.folder / ".writing-step-00000040-of-the-other").mkdir()
    behind.save(24, model(24), {"step": 24})
    assert names(store) == [".writing-step-00000040-of-the-other", "step-00000024", "step-00000030"]


def test_the_best_is_kept_apart_from_the_newest(store: CheckpointStore) -> None:
    store.save_best(15, model(15), {"dev_loss": 1.0})
    store.save_best(25, model(25), {"dev_loss": 0.5})
    best = store.best()
    assert best is not None
    assert (best.step, best.training) == (25, {"dev_loss": 0.5})
    assert weight_of(store) == 30


def test_a_file_that_would_run_code_is_not_loaded(store: CheckpointStore, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Malice:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(marker),)

    store.save(50, model(50), {"step": 50, "evil": Malice()})
    assert weight_of(store) == 30
    assert not marker.exists()
