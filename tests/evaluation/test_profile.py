"""Latency and memory: measured where they can be, None where they cannot, and blind to what came before."""

from __future__ import annotations

import itertools

import pytest
import torch

from paramalloc.allocation import Shape
from paramalloc.evaluation.profile import PeakMemory, latency_ms
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics

CPU = Numerics(torch.device("cpu"), "fp32")
SHAPE = Shape(d_model=16, n_layers=1, n_heads=2, d_ff=24, vocab_size=300, context_length=128, tied=True)
MB = 1_000_000


def test_latency_is_that_of_each_pass_after_the_warm_up() -> None:
    ticks = itertools.accumulate(
        itertools.chain.from_iterable((1.0, 0.002 if run < 5 else 0.001 * (run - 4)) for run in range(15))
    )
    measured = latency_ms({"a": Transformer(SHAPE)}, CPU, 10, clock=lambda: next(ticks))["a"]
    assert measured["128"] == pytest.approx({"p50": 5.5, "p95": 9.55, "p99": 9.91})
    assert measured["512"] is None  # beyond the context


def test_no_runs_give_no_figure() -> None:
    assert latency_ms({"a": Transformer(SHAPE)}, CPU, 0) == {"a": {"128": None, "512": None}}


def test_peak_memory_sees_what_was_held_and_not_what_came_before() -> None:
    earlier = torch.ones(100 * MB // 4)
    del earlier
    memory = PeakMemory(torch.device("cpu"))
    if memory.mb() is None:
        pytest.skip("this system does not tell the peak of a process's resident set")
    held = torch.ones(50 * MB // 4)
    del held
    assert memory.mb() == pytest.approx(50, abs=10)
