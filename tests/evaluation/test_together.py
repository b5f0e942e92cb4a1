"""Runs that train side by side, each in a process of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from paramalloc.allocation import Shape
from paramalloc.config import TrainingConfig
from paramalloc.evaluation.profile import together
from paramalloc.evaluation.profile.together import train_together
from paramalloc.numerics import Numerics
from paramalloc.training.run import TrainingRun

CPU = Numerics(torch.device("cpu"), "fp32")
SHAPE = Shape(d_model=16, n_layers=1, n_heads=2, d_ff=32, vocab_size=64, context_length=16, tied=True)
RUN = TrainingRun(
    SHAPE, TrainingConfig(batch_size=4), budget_tokens=640, eval_interval_tokens=640, seed=0, learning_rate=1e-3
)


def test_a_run_is_timed_in_a_process_of_its_own() -> None:
    alone = train_together(RUN, CPU, 1, seconds=0.2)
    assert alone.trials == 1
    assert alone.tokens_per_second > 0
    assert alone.used_mb is alone.device_mb is None


def test_the_speeds_of_all_are_added_and_nobody_is_timed_before_all_have_warmed_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[str] = []

    class Child:
        def __init__(self, setting: bytes) -> None:
            self.answers = iter([{}, {"tokens_per_second": 10.0, "used_mb": 3.0, "device_mb": 9.0}])

        def __enter__(self) -> Child:
            return self

        def __exit__(self, *_: object) -> None: ...

        def go(self) -> None:
            happened.append("go")

        def hear(self) -> dict[str, float]:
            happened.append("hear")
            return next(self.answers)

    monkeypatch.setattr(together, "_Child", Child)
    assert train_together(RUN, CPU, 2) == together.Together(2, 20.0, 3.0, 9.0)
    assert happened == ["hear", "hear", "go", "go", "hear", "hear"]


def test_a_process_that_breaks_down_is_an_error_with_its_last_words() -> None:
    odd = replace(RUN, shape=replace(SHAPE, n_heads=3))
    with pytest.raises(RuntimeError, match="RuntimeError: unflatten"):
        train_together(odd, CPU, trials=2, seconds=0.1)
