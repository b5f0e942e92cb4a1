"""The memorizing check: a sound model passes, and each way of breaking one is told apart from the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from paramalloc.allocation import Shape
from paramalloc.attention import split_heads
from paramalloc.config import TrainingConfig
from paramalloc.model import Cache, Transformer
from paramalloc.numerics import Numerics
from paramalloc.training import overfit as room
from paramalloc.training.overfit import OverfitResult, overfit
from paramalloc.training.overfit_diagnosis import Ending

SHAPE = Shape(d_model=32, n_layers=1, n_heads=2, d_ff=64, vocab_size=300, context_length=64, tied=True)
TRAINING = TrainingConfig()
CPU = Numerics(torch.device("cpu"), "fp32")
_RANDOM = np.random.default_rng(0)
TEXT = _RANDOM.choice(300, size=60_000, p=_RANDOM.dirichlet(np.full(300, 0.3))).astype(np.uint16)  # some are frequent


def check(
    shape: Shape = SHAPE, training: TrainingConfig = TRAINING, numerics: Numerics = CPU, **options: Any
) -> OverfitResult:
    return overfit(shape, training, TEXT, numerics, seed=3, **options)


def make_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MEMORIZED_TOKENS", 256)
    monkeypatch.setattr(room, "PATIENCE_STEPS", 25)


def problem(monkeypatch: pytest.MonkeyPatch, broken: type[Transformer]) -> str:
    """The message about a model that is broken, which must fail, in a result that strict JSON can hold."""
    monkeypatch.setattr(room, "Transformer", broken)
    make_small(monkeypatch)
    result = check()
    assert not result.passed
    json.dumps(result.as_json(), allow_nan=False)
    return result.message


@pytest.fixture(scope="module")
def sound() -> OverfitResult:
    return check()


def test_a_sound_model_memorizes_the_text_and_says_how_soon(sound: OverfitResult) -> None:
    (attempt,) = sound.evidence.attempts
    assert sound.passed
    assert attempt.ending is Ending.MEMORIZED
    assert attempt.losses[-1] < 0.05 <= min(attempt.losses[:-1])
    assert f"memorized 1,024 tokens to {attempt.losses[-1]:.4f} nats per token" in sound.message
    assert f"in {len(attempt.losses)} steps" in sound.message
    assert (
        json.loads(json.dumps(sound.as_json(), allow_nan=False))["evidence"]["attempts"][0]["ending"] == "memorized"
    )


def test_the_same_check_gives_the_same_result_and_tells_of_every_step(sound: OverfitResult) -> None:
    told: list[tuple[int, float]] = []
    assert check(on_step=lambda step, loss: told.append((step, loss))) == sound
    assert tuple(loss for _, loss in told) == sound.evidence.attempts[0].losses
    assert [step for step, _ in told] == list(range(1, len(told) + 1))


def test_learning_rate_and_weight_decay_of_the_experiment_are_not_what_is_tried(sound: OverfitResult) -> None:
    assert check(training=TrainingConfig(learning_rate=1e5, weight_decay=100)) == sound


def test_bf16_memorizes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    assert check(numerics=Numerics(torch.device("cpu"), "bf16")).passed


@pytest.mark.parametrize(("context", "windows"), [(64, 16), (60, 18), (1024, 1), (2048, 1)])
def test_the_text_is_at_least_1024_tokens_in_windows_that_begin_differently(context: int, windows: int) -> None:
    shape = Shape(8, 1, 1, 8, vocab_size=300, context_length=context, tied=True)
    inputs, targets = room._text(TEXT, shape, seed=0)
    assert inputs.shape == targets.shape == (windows, min(context, 1024))
    assert len(set(inputs[:, 0])) == windows
    assert (inputs[:, 1:] == targets[:, :-1]).all()


@pytest.mark.parametrize("later", [1, 1000])
def test_a_mask_that_lets_later_positions_through(monkeypatch: pytest.MonkeyPatch, later: int) -> None:
    def leaking(qkv: Tensor, n_heads: int) -> Tensor:
        seen = torch.ones(qkv.shape[1], qkv.shape[1], dtype=torch.bool).tril(diagonal=later)
        return F.scaled_dot_product_attention(*split_heads(qkv, n_heads), attn_mask=seen).transpose(1, 2).flatten(2)

    monkeypatch.setattr("paramalloc.model.causal_attention", leaking)
    assert "positions see later tokens" in problem(monkeypatch, Transformer)


def test_weights_that_are_not_finite_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Spoilt(Transformer):
        def _initialise(self, seed: int) -> None:
            super()._initialise(seed)
            torch.nn.init.constant_(self.blocks[0].glu.up.weight, float("nan"))

    assert "not finite before the first step: blocks.0.glu.up.weight" in problem(monkeypatch, Spoilt)


@pytest.mark.parametrize("cut_off", [lambda v: v.detach(), lambda v: v * 0])
def test_parts_that_no_gradient_reaches_are_named(
    monkeypatch: pytest.MonkeyPatch, cut_off: Callable[[Tensor], Tensor]
) -> None:
    monkeypatch.setattr("paramalloc.model.causal_attention", lambda qkv, n_heads: cut_off(qkv.chunk(3, dim=-1)[2]))
    message = problem(monkeypatch, Transformer)
    assert "no gradient reaches blocks.0.attention_norm.weight, blocks.0.attention_norm.bias, blocks.0.att" in message


def test_a_gradient_that_is_not_finite_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class RootOfZero(Transformer):
        def hidden(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
            return super().hidden(tokens, cache) + (self.final_norm.bias.abs() ** 0.5).sum()  # infinitely steep at 0

    assert "the first gradient is not finite: final_norm.bias" in problem(monkeypatch, RootOfZero)


def test_targets_among_the_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Told(Transformer):
        def nats(self, tokens: Tensor, targets: Tensor, reduction: str = "sum") -> Tensor:
            logits = self(tokens) + 9 * F.one_hot(targets, self.shape.vocab_size)
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)

    assert "the targets are among the inputs" in problem(monkeypatch, Told)


def test_targets_that_change_with_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shuffled(Transformer):
        def nats(self, tokens: Tensor, targets: Tensor, reduction: str = "sum") -> Tensor:
            return super().nats(
                tokens, targets.flatten()[torch.randperm(targets.numel())].view_as(targets), reduction
            )

    assert "the targets do not belong to the inputs" in problem(monkeypatch, Shuffled)


def test_a_model_that_sees_nothing_but_the_token_before(monkeypatch: pytest.MonkeyPatch) -> None:
    class ContextFree(Transformer):
        def hidden(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
            return super().hidden(tokens.reshape(-1, 1), cache).view(*tokens.shape, -1)

    assert "attention or positions lack effect" in problem(monkeypatch, ContextFree)


def test_a_loss_that_stops_being_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    class Overflowing(Transformer):
        calls = 0

        def nats(self, tokens: Tensor, targets: Tensor, reduction: str = "sum") -> Tensor:
            self.calls += 1
            return super().nats(tokens, targets, reduction) * (float("inf") if self.calls == 7 else 1)

    message = problem(monkeypatch, Overflowing)
    assert "not finite from step 7 on at learning rate 0.003 in fp32, the last gradient norm was" in message
    assert "learning rates tried: 0.003, 0.0009, 0.0003" in message


def test_an_optimiser_that_moves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paramalloc.training.optimizer.LightAdamW.step", lambda self, closure=None: None)
    assert "the optimiser does not move the weights" in problem(monkeypatch, Transformer)


def test_steps_that_are_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "FALLBACKS", (0.15,))
    monkeypatch.setattr(room, "MAX_STEPS", 40)
    assert "falls too slowly: 5." in problem(monkeypatch, Transformer)


def test_a_model_too_small_for_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    result = check(Shape(4, 1, 1, 4, vocab_size=300, context_length=64, tied=True))
    assert not result.passed
    assert "too small for" in result.message


def test_a_learning_rate_that_blows_up_is_followed_by_a_lower_one(monkeypatch: pytest.MonkeyPatch) -> None:
    make_small(monkeypatch)
    monkeypatch.setattr(room, "FALLBACKS", (1e30, 1.0))
    result = check()
    assert [attempt.ending for attempt in result.evidence.attempts] == [Ending.NOT_FINITE, Ending.MEMORIZED]
    assert result.passed
