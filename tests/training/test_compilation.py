"""When compiling pays, and that nothing else decides."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from paramalloc.allocation import Shape
from paramalloc.config import TrainingConfig
from paramalloc.numerics import Numerics
from paramalloc.training import compilation
from paramalloc.training.compilation import Gain, compiled, compiling_pays
from paramalloc.training.run import TrainingRun

GAIN = Gain(seconds=10.0, speedup=1.25, flops=1e6)  # a fifth of the seconds is saved: it pays beyond 50
SHAPE = Shape(d_model=16, n_layers=1, n_heads=2, d_ff=40, vocab_size=300, context_length=16, tied=True)
RUN = TrainingRun(SHAPE, TrainingConfig(batch_size=2), 10**6, 10**6, seed=0, learning_rate=1e-3)
CPU = Numerics(torch.device("cpu"), "fp32")


@pytest.mark.parametrize(("tokens", "pays"), [(49_000, False), (51_000, True)])
def test_compiling_pays_when_it_saves_more_than_it_takes(tokens: int, pays: bool) -> None:
    assert compiling_pays(tokens, flops_of_token=1000, gain=GAIN) is pays


def test_what_makes_nothing_faster_never_pays() -> None:
    assert not compiling_pays(10**12, 1000, Gain(seconds=0.0, speedup=1.0, flops=1e6))


def test_only_what_pays_or_is_asked_for_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: "compiled")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "elsewhere")  # what it would set itself is then undone

    def choice(compile: object) -> object:
        run = replace(RUN, training=RUN.training.model_copy(update={"compile": compile}))
        return compiled(len, run, CPU)

    assert choice("auto") is len  # nothing is counted on for a CPU
    assert choice(False) is len
    assert choice(True) == "compiled"
    monkeypatch.setitem(compilation.GAINS, "cpu", Gain(seconds=1.0, speedup=2.0, flops=1e6))
    assert choice("auto") == "compiled"
