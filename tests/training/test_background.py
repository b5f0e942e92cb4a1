"""Checkpoints beside training: real copies, no error lost, no thread left, no waiting counted as training."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paramalloc.allocation import Shape
from paramalloc.config import TrainingConfig
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics
from paramalloc.training.background import BackgroundWriter
from paramalloc.training.checkpoint import CheckpointStore
from paramalloc.training.loop import Preempted, Row, Trainer
from paramalloc.training.run import TrainingRun
from paramalloc.training.snapshot import FrozenWeights, distinct, snapshot

SHAPE = Shape(d_model=16, n_layers=1, n_heads=2, d_ff=24, vocab_size=260, context_length=8, tied=True)
TRAINING = TrainingConfig(batch_size=4, checkpoint_seconds=5)
RUN = TrainingRun(SHAPE, TRAINING, budget_tokens=32 * 20, eval_interval_tokens=32 * 10, seed=7, learning_rate=3e-3)
TEXT = np.random.default_rng(0).integers(0, 260, 4000).astype(np.uint16)
FULL = OSError(28, "No space left on device")


def dev_loss(model: Transformer) -> Row:
    with torch.no_grad():
        tokens = torch.arange(8).unsqueeze(0)
        return {"dev_loss": model.nats(tokens, tokens + 1).item()}


class Stepwise(Trainer):
    """A trainer whose clock shows its step: it saves after steps 5, 10, 15 and 20, and evaluates at 10 and 20."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.now: Callable[[], float] = lambda: float(self.progress.step)
        store, numerics = CheckpointStore(folder), Numerics(torch.device("cpu"), "fp32")
        super().__init__(RUN, TEXT, dev_loss, numerics, store, clock=lambda: self.now(), **options)


def failing_save(run: Trainer, at: int) -> None:
    save = run.checkpoints.save

    def maybe(step: int, *state: Any) -> None:
        if step == at:
            raise FULL
        save(step, *state)

    run.checkpoints.save = maybe


def weights(model: Any) -> list[torch.Tensor]:
    return [tensor.clone() for tensor in distinct(model.state_dict()).values()]


def checkpoint_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("checkpoint")]


def test_weights_that_change_during_the_write_do_not_reach_the_file(tmp_path: Path) -> None:
    run, gate = Stepwise(tmp_path), threading.Event()
    save, at_five, moments = run.checkpoints.save, [], []

    def save_behind_the_gate(step: int, *state: Any) -> None:
        assert gate.wait(60)
        save(step, *state)

    def watch() -> str | None:
        if run.progress.step == 5:
            at_five.extend(weights(run.model))
            moments.extend(value.clone() for state in run.optimizer.state.values() for value in state.values())
        if run.progress.step == 8:  # three steps later
            gate.set()
            return "enough"
        return None

    run.checkpoints.save = save_behind_the_gate
    with pytest.raises(Preempted):
        run.train(notice=watch)
    (tmp_path / "step-00000008" / "manifest.json").unlink()
    resumed = Stepwise(tmp_path)
    assert resumed.progress.step == 5
    assert resumed.progress.history == []
    assert all(torch.equal(a, b) for a, b in zip(weights(resumed.model), at_five, strict=True))
    restored = [value for state in resumed.optimizer.state.values() for value in state.values()]
    assert all(torch.equal(a, b) for a, b in zip(restored, moments, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights(run.model), at_five, strict=True))


@pytest.mark.parametrize(("failed", "noticed"), [(5, 10), (10, 15), (20, 20)])
def test_a_full_disk_is_told_at_the_next_save_or_the_end(tmp_path: Path, failed: int, noticed: int) -> None:
    run = Stepwise(tmp_path)
    failing_save(run, failed)
    with pytest.raises(OSError, match="No space left"):
        run.train()
    assert run.progress.step == noticed
    newest = CheckpointStore(tmp_path).newest()
    assert (newest.step if newest else 0) == failed - 5
    assert checkpoint_threads() == []


def test_a_full_disk_when_leaving_is_told_and_not_called_a_preemption(tmp_path: Path) -> None:
    run = Stepwise(tmp_path)
    failing_save(run, 7)
    with pytest.raises(OSError, match="No space left"):
        run.train(notice=lambda: "spot notice" if run.progress.step == 7 else None)


def test_a_state_that_knows_of_the_best_weights_is_not_saved_without_them(tmp_path: Path) -> None:
    run = Stepwise(tmp_path, keep_best=True)

    def fail(*state: Any) -> None:
        raise FULL

    run.checkpoints.save_best = fail
    with pytest.raises(OSError, match="No space left"):
        run.train()
    assert CheckpointStore(tmp_path).newest().step == 5  # the best so far was at 10, where a save was due too


def test_a_full_disk_does_not_hide_what_ended_the_run_and_is_not_lost(tmp_path: Path) -> None:
    run = Stepwise(tmp_path)
    failing_save(run, 5)
    step = run.take_step

    def step_or_fail() -> None:
        if run.progress.step == 6:
            raise ZeroDivisionError
        step()

    run.take_step = step_or_fail
    with pytest.raises(ZeroDivisionError) as caught:
        run.train()
    assert "No space left" in caught.value.__notes__[0]
    assert checkpoint_threads() == []


def test_nothing_is_being_written_while_an_evaluation_is_told(tmp_path: Path) -> None:
    run, told = Stepwise(tmp_path, keep_best=True), []
    save, writing = run.checkpoints.save, threading.Event()

    def save_and_say(*state: Any) -> None:
        writing.set()
        save(*state)
        writing.clear()

    run.checkpoints.save = save_and_say
    run.train(lambda row: told.append(writing.is_set()))
    assert told == [False, False]
    assert checkpoint_threads() == []


def test_waiting_for_a_write_is_no_training_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, waited, wait = Stepwise(tmp_path, keep_best=True), 0.0, BackgroundWriter.wait

    def long_wait(writer: BackgroundWriter) -> None:
        nonlocal waited
        waited += 1000.0
        wait(writer)

    run.now = lambda: run.progress.step + waited
    monkeypatch.setattr(BackgroundWriter, "wait", long_wait)
    run.train()
    assert waited > 0
    assert run.progress.training_seconds == 20
    assert run.tokens_per_second == RUN.step_tokens


def test_the_best_weights_are_those_of_their_evaluation(tmp_path: Path) -> None:
    losses, at_best = iter([1.0, 2.0]), []
    run = Stepwise(tmp_path, keep_best=True)
    run.evaluate = lambda model: {"dev_loss": next(losses)}
    run.train(lambda row: at_best.extend([] if at_best else weights(run.model)))
    best = run.checkpoints.best()
    assert (best.step, best.training) == (10, {"dev_loss": 1.0})
    best.load_weights(run.model)
    assert all(torch.equal(a, b) for a, b in zip(weights(run.model), at_best, strict=True))


def test_a_second_job_waits_for_the_first() -> None:
    begun, ended = threading.Event(), []

    def first() -> None:
        begun.set()
        ended.extend(sorted(range(200_000), reverse=True)[-1:])  # long enough for a thread that does not wait

    with BackgroundWriter() as writer:
        writer.start(first)
        assert begun.wait(60)
        writer.start(lambda: None)
        assert ended == [0]


def test_an_error_is_raised_once_and_the_job_after_it_is_not_run() -> None:
    def fail() -> None:
        raise FULL

    ran: list[int] = []
    with BackgroundWriter() as writer:
        writer.start(fail)
        with pytest.raises(OSError, match="No space"):
            writer.start(lambda: ran.append(1))
        writer.wait()
        writer.start(lambda: ran.append(2))
    assert ran == [2]


def test_a_snapshot_shares_nothing_and_keeps_every_value() -> None:
    tensor = torch.arange(3.0, requires_grad=True)
    state = {"a": [tensor, 5, None], "b": {"c": (tensor, "x")}}
    copied = snapshot(state)
    with torch.no_grad():
        tensor.mul_(0)
    state["a"].append("later")
    assert copied["a"][0].tolist() == copied["b"]["c"][0].tolist() == [0.0, 1.0, 2.0]
    assert copied["a"][1:] == [5, None]
    assert copied["b"]["c"][1] == "x"


def test_a_tied_head_is_copied_and_written_once() -> None:
    names = FrozenWeights.of(Transformer(SHAPE)).state_dict().keys()
    assert "token_embedding.weight" in names
    assert "head.weight" not in names


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_snapshot_of_a_gpu_is_whole_and_in_pinned_memory() -> None:
    tensors = [torch.full((1000, 1000), float(i), device="cuda") for i in range(20)]
    copied = snapshot(tensors)
    for tensor in tensors:
        tensor.zero_()
    assert all(copy.is_pinned() and bool((copy == i).all()) for i, copy in enumerate(copied))
