"""Learning-rate range test: how high may the learning rate go, and which one to take?

A fresh model takes a hundred small steps of real text while the learning rate rises exponentially from 1e-5 to 1
(Smith 2017, arXiv:1506.01186, section 3.3; exponentially and read off the smoothed loss as made popular by fastai).
What the suggestion is worth for a whole run with warm-up and cosine decay: docs/learning_rate.md.

Always holds: every step sees new text; a learning rate is suggested only where training lowered the loss clearly,
and never at or above `unstable_above`; same inputs, same suggestion on a CPU.

    lr_find(shape, training, tokens, choose_numerics("auto", device), seed=0).suggestion
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from paramalloc.allocation import Shape
from paramalloc.config import TrainingConfig
from paramalloc.data.batches import Batches
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics
from paramalloc.training.lr_curve import LrCurve
from paramalloc.training.probe import Probe

LOWEST_RATE, HIGHEST_RATE = 1e-5, 1.0
STEPS_PER_DECADE = 20
STEP_TOKENS = 1024
WINDOW_TOKENS = 128  # short windows from many places: less noise, and less time, than few long ones

OnStep = Callable[[int, float], None]


@dataclass(frozen=True)
class LrFindResult:
    """The outcome with the curve it was read from. `message` is a sentence for a person.

    suggestion: peak learning rate, None where nothing lowered the loss.
    unstable_above: from there on higher rates did not lower the loss any more; None where all of them did.
    configured: what the sweep file asks for; empty for `auto`.
    learning_rates, losses: one entry per step, nats per token; the last loss is None where it was not finite.
    smoothed: the finite losses, smoothed.
    """

    passed: bool
    message: str
    suggestion: float | None
    unstable_above: float | None
    configured: tuple[float, ...]
    step_tokens: int
    learning_rates: tuple[float, ...]
    losses: tuple[float | None, ...]
    smoothed: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def lr_find(
    shape: Shape,
    training: TrainingConfig,
    tokens: np.ndarray,
    numerics: Numerics,
    seed: int,
    on_step: OnStep = lambda step, loss: None,
) -> LrFindResult:
    """Run the range test for one shape.

    Args:
        shape: of the model.
        training: betas, weight decay and gradient clipping; `learning_rate` is passed on as `configured`.
        tokens: the training text, (N,) token ids.
        numerics: device and precision.
        seed: of the weights and the order of the text.
        on_step: told after each step how many were taken, and its loss.

    Errors: UserError when the text is shorter than one window.
    """
    length = min(shape.context_length, WINDOW_TOKENS)
    batches = Batches(tokens, length, math.ceil(STEP_TOKENS / length), seed)
    probe = Probe(Transformer(shape, seed).to(numerics.device), training, numerics)
    rates, losses = rising_rates(), list[float]()
    for step, rate in enumerate(rates):
        inputs, targets = (torch.from_numpy(ids).to(numerics.device) for ids in batches.batch(step))
        losses.append(probe.step(inputs, targets, rate).loss)
        on_step(step + 1, losses[-1])
        if not math.isfinite(losses[-1]) or LrCurve(rates[: step + 1], losses).is_over:
            break
    return read_curve(rates[: len(losses)], losses, training)


def rising_rates() -> list[float]:
    """The rates of a whole test, each the same factor above the one before."""
    count = round(STEPS_PER_DECADE * math.log10(HIGHEST_RATE / LOWEST_RATE))
    return [LOWEST_RATE * 10 ** (step / STEPS_PER_DECADE) for step in range(count + 1)]


def read_curve(rates: Sequence[float], losses: Sequence[float], training: TrainingConfig) -> LrFindResult:
    """What a range test says: S rates, and the loss before each step (nats per token), finite but for the last."""
    finite = len(losses) - (not math.isfinite(losses[-1]))
    curve = LrCurve(rates[:finite], losses[:finite])
    learnt = finite > 0 and curve.fell
    unstable_above = (rates[curve.lowest] if curve.is_over else _blown_up_at(rates, finite)) if learnt else None
    return LrFindResult(
        passed=learnt,
        message=_advice(curve, unstable_above) if learnt else _failure(rates, losses),
        suggestion=curve.nearly_down if learnt else None,
        unstable_above=unstable_above,
        configured=_configured(training),
        step_tokens=STEP_TOKENS,
        learning_rates=tuple(rates),
        losses=tuple(loss if math.isfinite(loss) else None for loss in losses),
        smoothed=tuple(curve.smoothed.tolist()),
    )


def _blown_up_at(rates: Sequence[float], finite: int) -> float | None:
    return rates[-1] if finite < len(rates) else None


def _advice(curve: LrCurve, unstable_above: float | None) -> str:
    lowest = float(curve.smoothed[curve.lowest])
    end = "the loss still fell at the highest rate tried"
    if unstable_above is not None:
        end = f"above {unstable_above:.2g} it fell no further"
    return (
        f"learning rate {curve.nearly_down:.2g} suggested: there, 90 % of the fall from {curve.start:.2f} to "
        f"{lowest:.2f} nats per token was done; {end}"
    )


def _failure(rates: Sequence[float], losses: Sequence[float]) -> str:
    tried = f"no learning rate from {rates[0]:.2g} to {rates[-1]:.2g} lowered the loss"
    if math.isfinite(losses[-1]):
        seen = f"it began at {losses[0]:.2f} nats per token and ended at {losses[-1]:.2f}"
    else:
        seen = f"it was not finite at {rates[-1]:.2g}"
    return f"{tried}: {seen}; `overfit` looks for the reason"


def _configured(training: TrainingConfig) -> tuple[float, ...]:
    rates = training.learning_rate
    if rates == "auto":
        return ()
    return rates if isinstance(rates, tuple) else (rates,)
