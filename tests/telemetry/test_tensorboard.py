"""TensorBoard files, read back with its own reader: a run that was cut shows what an undisturbed one does."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from paramalloc.allocation import Shape
from paramalloc.config import TrainingConfig
from paramalloc.numerics import Numerics
from paramalloc.telemetry import Telemetry
from paramalloc.telemetry.tensorboard import TensorBoard
from paramalloc.training.checkpoint import CheckpointStore
from paramalloc.training.loop import Trainer
from paramalloc.training.run import TrainingRun

SHAPE = Shape(d_model=16, n_layers=1, n_heads=2, d_ff=24, vocab_size=260, context_length=8, tied=True)
TRAINING = TrainingConfig(batch_size=4, checkpoint_seconds=1e9)
RUN = TrainingRun(SHAPE, TRAINING, budget_tokens=32 * 12, eval_interval_tokens=32 * 5, seed=7, learning_rate=3e-3)
TEXT = np.random.default_rng(0).integers(0, 260, 4000).astype(np.uint16)
MEASURED = {"train/tokens_per_second"}
Curves = dict[str, list[tuple[int, float]]]


class Cut(Exception):
    """Stands for whatever ends a process between two steps."""


def read(folder: Path) -> Curves:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def trainer(folder: Path, run: TrainingRun = RUN) -> Trainer:
    numerics = Numerics(torch.device("cpu"), "fp32")
    return Trainer(run, TEXT, lambda model: {"dev_loss": 1.0, "dev_ppl": 2.0}, numerics, CheckpointStore(folder))


def train_until_cut(folder: Path, saved: int, dead: int) -> None:
    """Train from the newest checkpoint until step `dead`, with a checkpoint at `saved`; nothing is closed."""
    first = trainer(folder, replace(RUN, training=TRAINING.model_copy(update={"checkpoint_seconds": 1e-9})))
    save, step = first.checkpoints.save, first.take_step

    def step_or_die() -> None:
        if first.progress.step == dead:
            raise Cut
        step()

    first.checkpoints.save = lambda at, *state: save(at, *state) if at == saved else None
    first.take_step = step_or_die
    telemetry = Telemetry([TensorBoard(folder / "tensorboard", first.progress.step)])
    with pytest.raises(Cut):
        first.train(telemetry=telemetry)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paramalloc.training.loop.LOOK_STEPS", 2)


@pytest.fixture
def undisturbed(tmp_path: Path) -> Curves:
    sink = TensorBoard(tmp_path / "undisturbed", resume_step=0)
    trainer(tmp_path / "whole").train(telemetry=Telemetry([sink]))
    sink.close()
    curves = read(tmp_path / "undisturbed")
    assert [step for step, _ in curves["train/train_loss"]] == [2, 4, 5, 6, 8, 10, 12]
    assert [step for step, _ in curves["dev/dev_ppl"]] == [5, 10, 12]
    return curves


@pytest.mark.parametrize(
    "cuts",
    [[(5, 5)], [(4, 7)], [(3, 9)], [(5, 11)], [(None, 6)], [(None, 3), (None, 11)], [(2, 9), (4, 10), (8, 11)]],
)
def test_cut_and_carried_on_shows_each_step_once(
    tmp_path: Path, undisturbed: Curves, cuts: list[tuple[int, int]]
) -> None:
    for saved, dead in cuts:
        train_until_cut(tmp_path, saved, dead)
    last = trainer(tmp_path)
    sink = TensorBoard(tmp_path / "tensorboard", last.progress.step)
    last.train(telemetry=Telemetry([sink]))
    sink.close()
    curves = read(tmp_path / "tensorboard")
    assert curves.keys() == undisturbed.keys()
    for tag in curves.keys() - MEASURED:
        assert curves[tag] == undisturbed[tag], tag
    assert [step for step, _ in curves["train/tokens_per_second"]] == [2, 4, 5, 6, 8, 10, 12]


def test_attempts_sort_by_number_even_when_a_clock_runs_backwards(tmp_path: Path) -> None:
    for attempt, now in enumerate((2e9, 1e9, 1.5e9)):
        sink = TensorBoard(tmp_path, resume_step=attempt, clock=lambda now=now: now)
        sink.log(attempt + 1, {"x": float(attempt)})
        sink.log(attempt + 2, {"x": float(attempt)})
        sink.close()
    assert read(tmp_path) == {"x": [(1, 0.0), (2, 1.0), (3, 2.0), (4, 2.0)]}


def test_a_logged_value_can_be_read_at_once(tmp_path: Path) -> None:
    begun = time.time()
    sink = TensorBoard(tmp_path, resume_step=0)
    sink.log(3, {"a": 0.5, "b": 2.0})
    assert read(tmp_path) == {"a": [(3, 0.5)], "b": [(3, 2.0)]}
    events = EventAccumulator(str(tmp_path)).Reload()
    assert begun <= events.Scalars("a")[0].wall_time <= time.time()
    sink.close()


def test_a_record_torn_by_a_crash_spoils_only_itself(tmp_path: Path) -> None:
    sink = TensorBoard(tmp_path, resume_step=0)
    for step in (1, 2):
        sink.log(step, {"x": float(step)})
    sink.close()
    (torn,) = tmp_path.iterdir()
    torn.write_bytes(torn.read_bytes()[:-5])
    again = TensorBoard(tmp_path, resume_step=1)
    again.log(2, {"x": 2.0})
    again.close()
    assert read(tmp_path) == {"x": [(1, 1.0), (2, 2.0)]}
