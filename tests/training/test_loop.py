"""Training: cut and carried on equals never cut, at any step; schedule, evaluation points, learning, telemetry."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from paramalloc.allocation import Shape
from paramalloc.config import TrainingConfig
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics, choose_numerics, micro_batch_size
from paramalloc.telemetry import Telemetry
from paramalloc.training.checkpoint import CheckpointStore
from paramalloc.training.loop import Row, Trainer
from paramalloc.training.optimizer import learning_rate_at, make_optimizer
from paramalloc.training.run import TrainingRun

SHAPE = Shape(d_model=16, n_layers=1, n_heads=2, d_ff=24, vocab_size=260, context_length=8, tied=True)
TRAINING = TrainingConfig(batch_size=4, micro_batch_size=3, checkpoint_seconds=1e9)
RUN = TrainingRun(SHAPE, TRAINING, budget_tokens=32 * 12, eval_interval_tokens=32 * 5, seed=7, learning_rate=3e-3)
TEXT = np.random.default_rng(0).integers(0, 260, 4000).astype(np.uint16)
CPU = Numerics(torch.device("cpu"), "fp32")


class Cut(Exception):
    """Stands for whatever ends a process between two steps."""


def dev_loss(model: Transformer) -> Row:
    with torch.no_grad():
        tokens = torch.arange(8).unsqueeze(0)
        return {"dev_loss": model.nats(tokens, tokens + 1).item()}


def trainer(folder: Path, run: TrainingRun = RUN, **options: object) -> Trainer:
    evaluate: Callable[[Transformer], Row] = options.pop("evaluate", dev_loss)
    return Trainer(run, TEXT, evaluate, CPU, CheckpointStore(folder), **options)


def without_times(history: list[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key != "training_seconds"} for row in history]


def state_of(trainer: Trainer) -> list[torch.Tensor]:
    moments = [value for state in trainer.optimizer.state.values() for value in state.values()]
    return [*trainer.model.state_dict().values(), *moments]


def train_until_cut(run: Trainer, after: int) -> None:
    step = run.take_step

    def step_or_die() -> None:
        if run.progress.step == after:
            raise Cut
        step()

    run.take_step = step_or_die
    with pytest.raises(Cut):
        run.train()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    whole = trainer(tmp_path_factory.mktemp("whole"))
    whole.train()
    return whole


@pytest.mark.parametrize("cut_after", range(1, 12))
def test_cut_at_any_step_and_carried_on_equals_undisturbed(
    tmp_path: Path, undisturbed: Trainer, cut_after: int
) -> None:
    every_step = replace(RUN, training=TRAINING.model_copy(update={"checkpoint_seconds": 1e-9}))
    train_until_cut(trainer(tmp_path, every_step), cut_after)
    torch.manual_seed(999)
    second = trainer(tmp_path)
    assert second.progress.step == cut_after
    reported: list[Row] = []
    second.train(reported.append)
    assert all(torch.equal(a, b) for a, b in zip(state_of(second), state_of(undisturbed), strict=True))
    assert without_times(second.progress.history) == without_times(undisturbed.progress.history)
    assert [row["step"] for row in reported] == [step for step in RUN.evaluation_steps if step > cut_after]


def test_work_since_the_last_checkpoint_is_done_again_to_the_same_end(tmp_path: Path, undisturbed: Trainer) -> None:
    clock = iter(range(10_000))
    first = trainer(
        tmp_path,
        replace(RUN, training=TRAINING.model_copy(update={"checkpoint_seconds": 4})),
        clock=lambda: next(clock),
    )
    train_until_cut(first, 10)
    second = trainer(tmp_path)
    assert 0 < second.progress.step < 10
    second.train()
    assert all(torch.equal(a, b) for a, b in zip(state_of(second), state_of(undisturbed), strict=True))


def test_a_finished_run_takes_no_further_step(tmp_path: Path) -> None:
    trainer(tmp_path).train()
    again = trainer(tmp_path)
    before = copy.deepcopy(again.model.state_dict())
    reported: list[Row] = []
    again.train(reported.append)
    assert reported == []
    assert all(torch.equal(before[name], value) for name, value in again.model.state_dict().items())


def test_micro_batches_do_not_change_the_gradient(tmp_path: Path) -> None:
    gradients = []
    for size in (1, 3, 4):
        run = replace(RUN, training=TRAINING.model_copy(update={"micro_batch_size": size}))
        one = trainer(tmp_path / str(size), run)
        one._accumulate_gradients(0)
        gradients.append([p.grad.clone() for p in one.model.parameters()])
    for other in gradients[1:]:
        for a, b in zip(gradients[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_history_rows_say_where_and_how(undisturbed: Trainer) -> None:
    history = undisturbed.progress.history
    assert [row["step"] for row in history] == [5, 10, 12]
    assert [row["tokens"] for row in history] == [160, 320, 384]
    assert all(row["train_loss"] > 0 and row["grad_norm"] > 0 for row in history)


@pytest.mark.parametrize(
    ("budget", "interval", "steps"),
    [
        (384, 160, [5, 10, 12]),
        (384, 384, [12]),
        (385, 32, list(range(1, 14))),
        (384, 1, list(range(1, 13))),
        (384, 100, [4, 7, 10, 12]),
        (10, 1000, [1]),
    ],
)
def test_evaluations_come_at_or_after_each_interval_and_at_the_end(
    budget: int, interval: int, steps: list[int]
) -> None:
    assert replace(RUN, budget_tokens=budget, eval_interval_tokens=interval).evaluation_steps == steps


def test_the_best_weights_are_kept_when_asked(tmp_path: Path) -> None:
    losses = iter([3.0, 1.0, 2.0])
    run = trainer(tmp_path, keep_best=True, evaluate=lambda model: {"dev_loss": next(losses)})
    run.train()
    best = run.checkpoints.best()
    assert best is not None
    assert (best.step, best.training["dev_loss"]) == (10, 1.0)


def test_the_schedule_warms_up_and_ends_at_zero() -> None:
    training = TrainingConfig(batch_size=4, warmup_fraction=0.1)
    run = replace(RUN, training=training, budget_tokens=32 * 100, learning_rate=1.0)
    rates = [learning_rate_at(step, run) for step in range(101)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == 0.0
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))


def test_only_matrices_are_decayed() -> None:
    model = Transformer(SHAPE)
    decayed, kept = make_optimizer(model, TrainingConfig(weight_decay=0.3), 1e-3).param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.3, 0.0)
    assert {p.dim() for p in decayed["params"]} == {2}
    assert {p.dim() for p in kept["params"]} == {1}
    assert len(decayed["params"]) + len(kept["params"]) == len(list(model.parameters()))


def test_loss_falls_on_text_with_structure(tmp_path: Path) -> None:
    text = np.tile(np.arange(50, dtype=np.uint16), 80)
    fast = replace(RUN, budget_tokens=32 * 60, learning_rate=2e-2)
    run = Trainer(fast, text, dev_loss, CPU, CheckpointStore(tmp_path))
    run.train()
    losses = [row["train_loss"] for row in run.progress.history]
    assert losses[-1] < 0.6 * losses[0]


def test_fp16_on_a_cpu_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(Exception, match=r"training\.precision.*allowed there: auto, bf16, fp32"):
        choose_numerics("fp16", torch.device("cpu"))


def test_micro_batches_are_sized_by_their_tokens() -> None:
    cpu = torch.device("cpu")
    assert micro_batch_size(256, 512, cpu) == 4
    assert micro_batch_size(256, 500, cpu) == 4
    assert micro_batch_size(10, 128, cpu) == 10
    assert micro_batch_size(16, 4096, cpu) == 1


class Recorded:
    """A sink that remembers what it was told, in one list with the checkpoints that were saved."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        self.curves: dict[int, dict[str, float]] = {}

    def log(self, step: int, values: dict[str, float]) -> None:
        self.told.append(("log", step))
        self.curves[step] = values

    def flush(self) -> None:
        self.told.append(("flush", 0))

    def close(self) -> None:
        self.told.append(("close", 0))


def test_telemetry_changes_nothing_and_shows_windows_and_scores(tmp_path: Path, undisturbed: Trainer) -> None:
    watched, sink = trainer(tmp_path), Recorded()
    watched.train(telemetry=Telemetry([sink]))
    assert all(torch.equal(a, b) for a, b in zip(state_of(watched), state_of(undisturbed), strict=True))
    assert without_times(watched.progress.history) == without_times(undisturbed.progress.history)
    assert list(sink.curves) == [5, 10, 12]
    for row in undisturbed.progress.history:
        shown = sink.curves[row["step"]]
        assert shown["dev/dev_loss"] == row["dev_loss"]
        for name in ("tokens", "train_loss", "learning_rate", "grad_norm", "skipped_steps"):
            assert shown[f"train/{name}"] == row[name]


def test_curves_show_more_than_evaluations_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paramalloc.training.loop.LOOK_STEPS", 2)
    watched, sink = trainer(tmp_path), Recorded()
    losses: list[float] = []
    step = watched._accumulate_gradients
    watched._accumulate_gradients = lambda index: losses.append(step(index)) or losses[-1]
    rows: list[Row] = []
    watched.train(rows.append, Telemetry([sink]))
    assert list(sink.curves) == [2, 4, 5, 6, 8, 10, 12]
    assert sink.curves[5]["train/train_loss"] == pytest.approx(float(losses[4]))
    assert sink.curves[8]["train/train_loss"] == pytest.approx(float(losses[6] + losses[7]) / 2)
    assert rows[1]["train_loss"] == pytest.approx(float(sum(losses[5:10])) / 5)
    assert "dev/dev_loss" not in sink.curves[8]


def test_tokens_per_second_are_of_the_window_and_of_training_alone(tmp_path: Path) -> None:
    now = 0.0

    def lasting(seconds: Callable[[], float], action: Callable[..., object]) -> Callable[..., object]:
        def timed(*arguments: object) -> object:
            nonlocal now
            now += seconds()
            return action(*arguments)

        return timed

    watched, sink = trainer(tmp_path, clock=lambda: now), Recorded()
    watched.take_step = lasting(lambda: 2.0 if watched.progress.step < 5 else 1.0, watched.take_step)
    watched.evaluate = lasting(lambda: 100.0, watched.evaluate)
    watched.train(telemetry=Telemetry([sink]))
    assert [sink.curves[step]["train/tokens_per_second"] for step in (5, 10, 12)] == [16.0, 32.0, 32.0]
    assert watched.tokens_per_second == 12 * 32 / 17


def test_curves_are_flushed_before_a_checkpoint_is_saved(tmp_path: Path) -> None:
    every_step = replace(RUN, training=TRAINING.model_copy(update={"checkpoint_seconds": 1e-9}))
    watched, sink = trainer(tmp_path, every_step), Recorded()
    save = watched.checkpoints.save
    watched.checkpoints.save = lambda step, *state: sink.told.append(("save", step)) or save(step, *state)
    watched.train(telemetry=Telemetry([sink]))
    assert sink.told[:3] == [("flush", 0), ("save", 1), ("flush", 0)]
    assert sink.told[8:12] == [("log", 5), ("flush", 0), ("save", 5), ("flush", 0)]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_on_a_gpu_learns_as_fp32_does(tmp_path: Path, precision: str) -> None:
    device, losses = torch.device("cuda"), {}
    text = np.tile(np.arange(50, dtype=np.uint16), 80)
    for name in ("fp32", precision):
        store = CheckpointStore(tmp_path / name)
        run = Trainer(
            replace(RUN, budget_tokens=32 * 60), text, lambda m: {"dev_loss": 0.0}, Numerics(device, name), store
        )
        run.train()
        losses[name] = run.progress.history[-1]["train_loss"]
    assert losses[precision] == pytest.approx(losses["fp32"], rel=0.05)
