"""Runs that train side by side, each in a process of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from paramalloc.allocation import Shape
from paramalloc.config import TrainingConfig
from paramalloc.evaluation.profile.together import train_together
from paramalloc.numerics import Numerics
from paramalloc.training.run import TrainingRun

CPU = Numerics(torch.device("cpu"), "fp32")
SHAPE = Shape(d_model=16, n_layers=1, n_heads=2, d_ff=32, vocab_size=64, context_length=16, tied=True)
RUN = TrainingRun(
    SHAPE, TrainingConfig(batch_size=4), budget_tokens=640, eval_interval_tokens=640, seed=0, learning_rate=1e-3
)


def test_two_at_a_time_are_counted_together() -> None:
    alone, both = (train_together(RUN, CPU, trials, seconds=0.5) for trials in (1, 2))
    assert (alone.trials, both.trials) == (1, 2)
    assert alone.tokens_per_second > 0
    assert both.tokens_per_second > 0.2 * alone.tokens_per_second  # whatever else the machine does
    assert alone.used_mb is alone.device_mb is None


def test_a_process_that_breaks_down_is_an_error_with_its_last_words() -> None:
    odd = replace(RUN, shape=replace(SHAPE, n_heads=3))
    with pytest.raises(RuntimeError, match="RuntimeError: unflatten"):
        train_together(odd, CPU, trials=2, seconds=0.1)
