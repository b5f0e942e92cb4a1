"""A trial that moves between machines: each has a folder of its own, and S3 is what they share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from paramalloc.results import ResultsFolder
from paramalloc.storage.checkpoints import SharedCheckpoints
from paramalloc.storage.objects import Objects, StorageError, open_objects

Machine = Callable[[str], SharedCheckpoints]


def model(value: float) -> nn.Module:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.fill_(value)
    return layer


def weight_of(store: SharedCheckpoints) -> float | None:
    found = store.newest()
    if found is None:
        return None
    layer = nn.Linear(2, 2)
    found.load_weights(layer)
    return float(layer.weight[0, 0].item())


@pytest.fixture
def machine(objects: Objects, tmp_path: Path) -> Machine:
    """The trial's checkpoints as a machine of this name sees them."""

    def on(name: str) -> SharedCheckpoints:
        folder = ResultsFolder(tmp_path / name, objects.address).trial("ranking", "wide")
        return SharedCheckpoints(folder, open_objects(f"{objects.address}/ranking/wide"))

    return on


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def test_another_machine_carries_on_from_the_newest(machine: Machine) -> None:
    assert machine("a").newest() is None
    for step in (10, 20, 30):
        machine("a").save(step, model(step), {"step": step})
    assert weight_of(machine("b")) == 30
    machine("b").save(40, model(40), {"step": 40})
    assert weight_of(machine("a")) == 40


def test_two_are_kept_in_storage_and_each_is_whole(machine: Machine, objects: Objects) -> None:
    for step in (10, 20, 30):
        machine("a").save(step, model(step), {})
    names = objects.names("ranking/wide/checkpoint/")
    assert {name.split("/")[3] for name in names} == {"step-00000020", "step-00000030"}
    assert len(names) == 6


def test_what_another_sweep_left_on_a_machine_is_not_carried_on(machine: Machine, objects: Objects) -> None:
    machine("a").save(10, model(10), {})
    objects.delete(objects.names())
    assert machine("a").newest() is None
    assert not list(machine("a").folder.glob("step-*"))


def test_curves_go_along_when_they_have_grown_and_those_of_earlier_attempts_never_again(machine: Machine) -> None:
    first = machine("a")
    first._curves.mkdir(parents=True)
    (first._curves / "events.0").write_text("loss")
    first.save(10, model(10), {})
    second, sent = machine("b"), []
    assert second.newest()
    send = second._objects.send

    def record(path: Path, name: str) -> None:
        sent.append(name)
        send(path, name)

    second._objects.send = record  # type: ignore[method-assign]
    for step, text in ((20, "loss"), (30, "loss"), (40, "loss, less")):
        if step != 30:
            (second._curves / "events.1").write_text(text)
        second.save(step, model(step), {})
    assert [name for name in sent if "tensorboard" in name] == ["tensorboard/events.1"] * 2
    third = machine("c")
    third.newest()
    curves = {path.name: path.read_text() for path in third._curves.iterdir()}
    assert curves == {"events.0": "loss", "events.1": "loss, less"}


def test_a_checkpoint_whose_manifest_never_arrived_is_none(machine: Machine) -> None:
    machine("a").save(10, model(10), {})
    store = machine("a")
    sent = store._objects.send

    def send(path: Path, name: str) -> None:
        if path.name == "manifest.json":
            raise StorageError("gone")
        sent(path, name)

    store._objects.send = send  # type: ignore[method-assign]
    with pytest.raises(StorageError):
        store.save(20, model(20), {})
    assert weight_of(machine("b")) == 10
    assert weight_of(machine("a")) == 10  # which has the newer one on its disk


def test_a_damaged_newest_one_is_stepped_over_and_not_counted(machine: Machine, objects: Objects) -> None:
    for step in (10, 20):
        machine("a").save(step, model(step), {})
    objects.put("ranking/wide/checkpoint/step-00000020/model.safetensors", b"garbage")
    other = machine("b")
    said: list[str] = []
    other.notify = said.append
    assert weight_of(other) == 10
    assert "step-00000020 cannot be used" in said[0]
    other.save(15, model(15), {})
    assert weight_of(machine("c")) == 15


def test_a_damaged_copy_on_the_machine_is_fetched_again(machine: Machine) -> None:
    machine("a").save(10, model(10), {})
    damage(machine("a").folder / "step-00000010" / "model.safetensors")
    said: list[str] = []
    again = machine("a")
    again.notify = said.append
    assert weight_of(again) == 10
    assert not said


def test_the_best_one_is_shared_too_and_removal_is_everywhere(machine: Machine, objects: Objects) -> None:
    assert machine("a").best() is None
    machine("a").save_best(5, model(5), {})
    machine("a").save_best(7, model(7), {})
    found = machine("b").best()
    assert found is not None
    assert found.step == 7
    machine("b").remove()
    assert machine("a").best() is None
    assert objects.names("ranking/wide/checkpoint/") == {}


def test_curves_up_to_a_checkpoint_are_on_the_next_machine(machine: Machine, tmp_path: Path) -> None:
    curves = tmp_path / "a" / "ranking" / "wide" / "tensorboard" / "events.0"
    curves.parent.mkdir(parents=True)
    curves.write_bytes(b"curve")
    machine("a").save(10, model(10), {})
    shutil.rmtree(tmp_path / "a")
    machine("b").newest()
    assert (tmp_path / "b" / "ranking" / "wide" / "tensorboard" / "events.0").read_bytes() == b"curve"
