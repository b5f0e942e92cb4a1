"""A notice to leave: the step is finished, reported and saved, and the run carries on elsewhere to the same end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paramalloc.allocation import Shape
from paramalloc.config import TrainingConfig
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics
from paramalloc.telemetry import Telemetry
from paramalloc.training.checkpoint import CheckpointStore
from paramalloc.training.loop import Preempted, Row, Trainer
from paramalloc.training.run import TrainingRun

SHAPE = Shape(d_model=16, n_layers=1, n_heads=2, d_ff=24, vocab_size=260, context_length=8, tied=True)
TRAINING = TrainingConfig(batch_size=4, checkpoint_seconds=1e9)
RUN = TrainingRun(SHAPE, TRAINING, budget_tokens=32 * 12, eval_interval_tokens=32 * 5, seed=7, learning_rate=3e-3)
EVERY_STEP = replace(RUN, training=TRAINING.model_copy(update={"checkpoint_seconds": 1e-9}))
TEXT = np.random.default_rng(0).integers(0, 260, 4000).astype(np.uint16)


def dev_loss(model: Transformer) -> Row:
    with torch.no_grad():
        tokens = torch.arange(8).unsqueeze(0)
        return {"dev_loss": model.nats(tokens, tokens + 1).item()}


def trainer(folder: Path, run: TrainingRun = RUN) -> Trainer:
    store = CheckpointStore(folder)
    return Trainer(run, TEXT, dev_loss, Numerics(torch.device("cpu"), "fp32"), store, keep_best=True)


def notice_at(run: Trainer, step: int) -> Callable[[], str | None]:
    return lambda: "spot notice" if run.progress.step >= step else None


def leave(run: Trainer, step: int, *listeners: Any) -> Preempted:
    with pytest.raises(Preempted) as caught:
        run.train(*listeners, notice=notice_at(run, step))
    return caught.value


def outcome(run: Trainer) -> tuple[list[Row], list[list[float]], dict[str, Any]]:
    """What must not depend on interruptions: history, weights and moments, the best checkpoint's record."""
    history = [{**row, "training_seconds": None} for row in run.progress.history]
    moments = [value for state in run.optimizer.state.values() for value in state.values()]
    best = run.checkpoints.best()
    tensors = [tensor.flatten().tolist() for tensor in (*run.model.state_dict().values(), *moments)]
    return history, tensors, {"step": best.step, **best.training}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    whole = trainer(tmp_path_factory.mktemp("whole"))
    whole.train()
    return whole


@pytest.mark.parametrize("run", [RUN, EVERY_STEP], ids=["no other checkpoint", "while one is written"])
@pytest.mark.parametrize("step", range(1, 12))
def test_after_any_step_nothing_is_lost(tmp_path: Path, undisturbed: Trainer, step: int, run: TrainingRun) -> None:
    rows: list[Row] = []
    ended = leave(trainer(tmp_path, run), step, rows.append)
    assert (ended.step, ended.reason) == (step, "spot notice")
    assert [row["step"] for row in rows] == [at for at in RUN.evaluation_steps if at <= step]
    resumed = trainer(tmp_path)
    assert resumed.progress.step == step
    resumed.train(rows.append)
    assert [row["step"] for row in rows] == RUN.evaluation_steps
    assert outcome(resumed) == outcome(undisturbed)


def test_leaving_after_every_single_step_comes_to_the_same_end(tmp_path: Path, undisturbed: Trainer) -> None:
    for step in range(1, 12):
        leave(trainer(tmp_path), step)
    last = trainer(tmp_path)
    last.train()
    assert outcome(last) == outcome(undisturbed)


def test_before_the_first_step_nothing_is_done(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    assert leave(run, 0).step == 0
    assert run.progress.step == 0
    assert list(tmp_path.iterdir()) == []
    leave(run, 3)
    resumed = trainer(tmp_path)
    assert leave(resumed, 0).step == 3
    assert resumed.progress.step == 3


def test_a_run_that_has_taken_its_last_step_is_finished(tmp_path: Path, undisturbed: Trainer) -> None:
    run = trainer(tmp_path)
    run.train(notice=notice_at(run, RUN.total_steps))
    assert outcome(run) == outcome(undisturbed)
    again = trainer(tmp_path)
    again.train(notice=lambda: "spot notice")
    assert again.progress.step == RUN.total_steps


def test_the_state_is_saved_after_the_write_under_way(tmp_path: Path) -> None:
    run, gate, saved = trainer(tmp_path, EVERY_STEP), threading.Event(), []
    save = run.checkpoints.save

    def save_behind_the_gate(step: int, *state: Any) -> None:
        assert gate.wait(60)
        save(step, *state)
        saved.append(step)

    def notice() -> str | None:
        if run.progress.step < 2:
            return None
        assert saved == []  # the save after step 1 is still under way
        gate.set()
        return "stopped by the user"

    run.checkpoints.save = save_behind_the_gate
    with pytest.raises(Preempted):
        run.train(notice=notice)
    assert saved == [1, 2]
    assert trainer(tmp_path).progress.step == 2


def test_a_state_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    run = trainer(tmp_path)
    leave(run, 3)
    broken = trainer(tmp_path)
    step = broken.take_step

    def breaking_step() -> None:
        step()
        with torch.no_grad():
            broken.model.position_embedding.weight[0, 0] = float("nan")

    broken.take_step = breaking_step
    assert leave(broken, 4).step == 3
    assert trainer(tmp_path).progress.step == 3


def test_curves_are_flushed(tmp_path: Path) -> None:
    class Sink:
        flushes = 0

        def log(self, step: int, values: dict[str, float]) -> None: ...

        def flush(self) -> None:
            self.flushes += 1

        def close(self) -> None: ...

    sink = Sink()
    leave(trainer(tmp_path), 4, lambda row: None, Telemetry([sink]))
    assert sink.flushes == 1


def test_each_step_boundary_asks_once(tmp_path: Path) -> None:
    run, asked = trainer(tmp_path), []
    run.train(notice=lambda: asked.append(run.progress.step))
    assert asked == list(range(12))
