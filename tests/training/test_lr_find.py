"""The range test: what it reads off known curves, and that a real one learns, stops in time and repeats itself."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from paramalloc.allocation import Shape
from paramalloc.config import TrainingConfig
from paramalloc.numerics import Numerics
from paramalloc.training import lr_find as room
from paramalloc.training.lr_curve import LrCurve
from paramalloc.training.lr_find import LrFindResult, lr_find, read_curve, rising_rates
from paramalloc.training.probe import Probe, ProbeStep

SHAPE = Shape(d_model=16, n_layers=1, n_heads=2, d_ff=24, vocab_size=300, context_length=64, tied=True)
CPU = Numerics(torch.device("cpu"), "fp32")
_RANDOM = np.random.default_rng(0)
TEXT = _RANDOM.choice(300, size=200_000, p=_RANDOM.dirichlet(np.full(300, 0.3))).astype(np.uint16)
RATES = rising_rates()


def falling(middle: float, high: float = 7.0, low: float = 5.0) -> list[float]:
    """A loss that falls from `high` to `low` over a decade or so, with half of it done at the rate `middle`."""
    return [low + (high - low) / (1 + (rate / middle) ** 2) for rate in RATES]


def read(losses: list[float]) -> LrFindResult:
    return read_curve(RATES[: len(losses)], losses, TrainingConfig())


def run(**options: object) -> LrFindResult:
    return lr_find(SHAPE, TrainingConfig(), TEXT, CPU, seed=1, **options)


@pytest.fixture(scope="module")
def real() -> LrFindResult:
    return run()


def test_rates_rise_by_the_same_factor_over_five_decades() -> None:
    assert (RATES[0], RATES[-1]) == (1e-5, pytest.approx(1.0))
    assert np.diff(np.log(RATES)) == pytest.approx(math.log(10) / 20)


# Where 90 % of a fall to `low` is done, by the formula of `falling`; the test ends a little before `low`.
NEARLY_DOWN = math.sqrt(9)


@pytest.mark.parametrize("middle", [2e-4, 1e-3, 1e-2])
def test_the_rate_at_which_90_percent_of_the_descent_is_done_is_suggested(middle: float) -> None:
    assert read(falling(middle)).suggestion == pytest.approx(NEARLY_DOWN * middle, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_noise_moves_the_suggestion_by_little(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.1, len(RATES))
    assert read(list(falling(1e-3) + noise)).suggestion == pytest.approx(NEARLY_DOWN * 1e-3, rel=0.5)


def test_a_loss_that_rises_again_marks_where_rates_are_too_high_and_later_luck_does_not_count() -> None:
    turn = RATES.index(pytest.approx(1e-2))
    losses = falling(1e-3)
    losses[turn:] = [11.0] * 4 + [4.0] * (len(RATES) - turn - 4)
    result = read(losses)
    assert 2e-3 < result.suggestion < result.unstable_above
    assert 3e-3 < result.unstable_above < 1e-2
    assert f"above {result.unstable_above:.2g} it fell no further" in result.message


def test_a_loss_that_still_falls_at_the_highest_rate_has_no_limit() -> None:
    result = read(falling(0.3))
    assert result.unstable_above is None
    assert "still fell at the highest rate" in result.message


def test_a_loss_that_is_not_finite_ends_the_curve_and_is_null() -> None:
    result = read([*falling(1e-3)[:50], math.nan])
    assert result.passed
    assert result.unstable_above == RATES[50]
    assert (len(result.losses), result.losses[-1], len(result.smoothed)) == (51, None, 50)
    json.dumps(result.as_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("losses", "seen"),
    [
        ([7.0] * len(RATES), "it began at 7.00 nats per token and ended at 7.00"),
        ([7 + rate for rate in RATES], "ended at 8.00"),
        ([7.0] * 30 + [math.inf], "it was not finite at 0.00032"),
        ([math.nan], "it was not finite at 1e-05"),
    ],
)
def test_without_a_rate_that_lowers_the_loss_nothing_is_suggested(losses: list[float], seen: str) -> None:
    result = read(losses)
    assert not result.passed
    assert result.suggestion is None
    assert result.unstable_above is None
    assert "no learning rate from 1e-05 to" in result.message
    assert seen in result.message
    json.dumps(result.as_json(), allow_nan=False)


def test_a_flat_end_is_over_after_three_quarters_of_a_decade_and_a_flat_beginning_is_not() -> None:
    losses = falling(1e-3)
    over = [LrCurve(RATES[:n], losses[:n]).is_over for n in range(1, len(RATES) + 1)]
    flat_from = next(rate for rate, loss in zip(RATES, losses, strict=True) if loss < 5.02)
    assert RATES[over.index(True)] == pytest.approx(flat_from * 10**0.75, rel=0.5)


def test_a_real_test_learns_stops_early_and_says_why(real: LrFindResult) -> None:
    assert real.passed
    assert real.losses[0] == pytest.approx(math.log(300), rel=0.05)
    assert min(real.smoothed) < 0.95 * real.losses[0]
    assert 1e-4 < real.suggestion < real.unstable_above < real.learning_rates[-1]
    assert len(real.learning_rates) == len(real.losses) < len(RATES)
    assert real.message.startswith(f"learning rate {real.suggestion:.2g} suggested")


def test_the_same_test_gives_the_same_result_and_tells_of_every_step(real: LrFindResult) -> None:
    told: list[tuple[int, float]] = []
    assert run(on_step=lambda step, loss: told.append((step, loss))) == real
    assert told == list(enumerate(real.losses, start=1))


def test_every_step_has_new_text_and_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[bytes, float]] = []

    def recorded(probe: Probe, inputs: torch.Tensor, targets: torch.Tensor, rate: float) -> ProbeStep:
        assert inputs.shape == targets.shape == (16, 64)
        given.append((inputs.numpy().tobytes(), rate))
        return ProbeStep(loss=5.0, grad_norm=1.0)

    monkeypatch.setattr(Probe, "step", recorded)
    run()
    assert [rate for _, rate in given] == RATES
    assert len({text for text, _ in given}) == len(RATES)


def test_an_optimiser_that_moves_nothing_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paramalloc.training.optimizer.LightAdamW.step", lambda self, closure=None: None)
    monkeypatch.setattr(room, "STEP_TOKENS", 128)
    result = run()
    assert not result.passed
    assert "`overfit` looks for the reason" in result.message


@pytest.mark.parametrize(("rates", "configured"), [(3e-4, (3e-4,)), ((1e-3, 1e-2), (1e-3, 1e-2)), ("auto", ())])
def test_the_rates_of_the_sweep_file_stand_beside_it(rates: object, configured: tuple[float, ...]) -> None:
    training = TrainingConfig(learning_rate=rates)
    assert read_curve(RATES, falling(1e-3), training).configured == configured
