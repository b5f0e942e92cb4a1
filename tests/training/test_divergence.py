"""What is not finite: skipped and counted where loss scaling may be to blame, else the run's end; never saved."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from paramalloc.allocation import Shape
from paramalloc.config import TrainingConfig
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics
from paramalloc.training.checkpoint import CheckpointStore
from paramalloc.training.loop import Diverged, Preempted, Row, Trainer
from paramalloc.training.run import TrainingRun

SHAPE = Shape(d_model=16, n_layers=1, n_heads=2, d_ff=24, vocab_size=260, context_length=8, tied=True)
TRAINING = TrainingConfig(batch_size=4, checkpoint_seconds=1e9)
SAVING_EVERY_STEP = TrainingConfig(batch_size=4, checkpoint_seconds=1e-9)
STEP_TOKENS = 32
TEXT = np.random.default_rng(0).integers(0, 260, 4000).astype(np.uint16)
NAN = float("nan")
TOLERATED = 16  # halvings from a loss scale of 2^16 to none


def dev_loss(model: Transformer) -> Row:
    with torch.no_grad():
        tokens = torch.arange(8).unsqueeze(0)
        return {"dev_loss": model.nats(tokens, tokens + 1).item()}


class Poisoned(Trainer):
    """A trainer whose gradient, loss or `both` are NaN at some steps (0-based); it remembers its losses."""

    def __init__(
        self,
        folder: Path,
        precision: str,
        steps: int,
        at: Collection[int],
        *,
        every: int = 5,
        spoilt: str = "both",
        training: TrainingConfig = TRAINING,
    ) -> None:
        run = TrainingRun(SHAPE, training, STEP_TOKENS * steps, STEP_TOKENS * every, 7, 3e-3)
        self.poisoned, self.spoilt, self.losses = at, spoilt, {}
        super().__init__(run, TEXT, dev_loss, Numerics(torch.device("cpu"), precision), CheckpointStore(folder))

    def _accumulate_gradients(self, step: int) -> torch.Tensor:
        loss = super()._accumulate_gradients(step)
        if step in self.poisoned and self.spoilt != "loss":
            next(self.model.parameters()).grad[0, 0] = NAN
        if step in self.poisoned and self.spoilt != "gradient":
            loss = loss * NAN
        self.losses[step] = loss.item()
        return loss


def weights(trainer: Trainer) -> list[torch.Tensor]:
    return [value.clone() for value in trainer.model.state_dict().values()]


def train_until_cut(trainer: Trainer, after: int) -> None:
    with pytest.raises(Preempted):
        trainer.train(notice=lambda: "cut" if trainer.progress.step == after else None)


def without_times(history: list[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key != "training_seconds"} for row in history]


def test_under_fp16_a_poisoned_step_leaves_the_weights_alone(tmp_path: Path) -> None:
    run = Poisoned(tmp_path, "fp16", 10, {6, 7})
    after: dict[int, list[torch.Tensor]] = {}
    for step in range(1, 10):
        run.take_step()
        after[step] = weights(run)
    assert all(torch.equal(a, b) for a, b in zip(after[6], after[8], strict=True))
    assert not torch.equal(after[5][0], after[6][0])
    assert not torch.equal(after[8][0], after[9][0])


@pytest.mark.parametrize("spoilt", ["gradient", "both"])
def test_skipped_steps_are_counted_and_leave_no_trace_in_the_mean_loss(tmp_path: Path, spoilt: str) -> None:
    run = Poisoned(tmp_path, "fp16", 10, {6, 7}, spoilt=spoilt)
    run.train()
    first, second = run.progress.history
    assert (first["skipped_steps"], second["skipped_steps"], run.progress.skipped_steps) == (0, 2, 2)
    assert second["train_loss"] == pytest.approx(np.mean([run.losses[step] for step in (5, 8, 9)]), rel=1e-12)
    assert run.progress.step == 10


def test_a_window_of_nothing_but_skips_has_no_loss(tmp_path: Path) -> None:
    run = Poisoned(tmp_path, "fp16", 10, {5, 6, 7, 8, 9})
    run.train()
    assert run.progress.history[1]["train_loss"] is None
    assert run.progress.history[1]["grad_norm"] is None


@pytest.mark.parametrize("cut", range(1, 12))
def test_skips_survive_a_cut_at_any_step(tmp_path: Path, cut: int) -> None:
    whole = Poisoned(tmp_path / "whole", "fp16", 12, {3, 4, 5, 6})
    whole.train()
    train_until_cut(Poisoned(tmp_path / "cut", "fp16", 12, {3, 4, 5, 6}, training=SAVING_EVERY_STEP), cut)
    resumed = Poisoned(tmp_path / "cut", "fp16", 12, {3, 4, 5, 6})
    assert resumed.progress.step == cut
    resumed.train()
    assert without_times(resumed.progress.history) == without_times(whole.progress.history)
    assert resumed.progress.history[-1]["skipped_steps"] == 4
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(resumed), strict=True))


def test_as_many_skips_in_a_row_as_loss_scaling_explains_are_borne(tmp_path: Path) -> None:
    run = Poisoned(tmp_path, "fp16", 60, range(25, 25 + TOLERATED), every=100)
    run.train()
    assert run.progress.skipped_steps == TOLERATED
    assert run.scaler.get_scale() == 1


@pytest.mark.parametrize("cut", [None, 24, 30, 40, 41])
def test_one_more_ends_the_run_at_a_step_that_no_interruption_shifts(tmp_path: Path, cut: int | None) -> None:
    poison = range(25, 25 + TOLERATED + 1)  # after 42 steps it is 17 in a row
    if cut is not None:
        train_until_cut(Poisoned(tmp_path, "fp16", 80, poison, every=100, training=SAVING_EVERY_STEP), cut)
    run = Poisoned(tmp_path, "fp16", 80, poison, every=100)
    with pytest.raises(Diverged) as caught:
        run.train()
    assert caught.value.step == 60


def test_a_run_past_bearing_is_no_longer_saved(tmp_path: Path) -> None:
    run = Poisoned(tmp_path, "fp16", 60, range(25, 60), every=100, training=SAVING_EVERY_STEP)
    with pytest.raises(Diverged):
        run.train()
    assert run.checkpoints.newest().step == 25 + TOLERATED


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("spoilt", ["loss", "gradient", "both"])
def test_without_loss_scaling_the_first_one_ends_the_run_and_is_never_saved(
    tmp_path: Path, precision: str, spoilt: str
) -> None:
    run = Poisoned(tmp_path, precision, 12, {6}, spoilt=spoilt, training=SAVING_EVERY_STEP)
    with pytest.raises(Diverged) as caught:
        run.train()
    assert caught.value.step == 10  # the next evaluation
    assert run.checkpoints.newest().step == 6


def test_weights_that_an_update_made_infinite_are_never_saved(tmp_path: Path) -> None:
    run = Poisoned(tmp_path, "fp32", 12, (), training=SAVING_EVERY_STEP)
    step = run.take_step

    def overflowing_step() -> None:
        step()
        if run.progress.step == 7:  # its loss and gradient were finite
            with torch.no_grad():
                run.model.position_embedding.weight[7, 0] = float("inf")

    run.take_step = overflowing_step
    with pytest.raises(Diverged):
        run.train()
    assert run.checkpoints.newest().step == 6


def test_a_dev_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    run = Poisoned(tmp_path, "fp32", 12, ())
    run.evaluate = lambda model: {"dev_loss": float("inf")}
    with pytest.raises(Diverged) as caught:
        run.train()
    assert caught.value.step == 5


class HostReads(TorchDispatchMode):
    """Counts how often a value travels from a tensor to Python, where a GPU would have to be waited for."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_step_reads_nothing_back_from_the_device(tmp_path: Path, precision: str) -> None:
    run = TrainingRun(SHAPE, TRAINING, STEP_TOKENS * 5, STEP_TOKENS * 5, 7, 3e-3)
    trainer = Trainer(run, TEXT, dev_loss, Numerics(torch.device("cpu"), precision), CheckpointStore(tmp_path))
    with HostReads() as reads:
        trainer.take_step()
        assert reads.count == 0
        trainer.train()
        assert reads.count > 0
