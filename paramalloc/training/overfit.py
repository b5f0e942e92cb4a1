"""Can the model memorize a little text? The cheapest proof that model, gradients, optimiser and targets fit together.

Always holds: it passes only a model that sees no later position, gives every parameter a gradient, and memorizes
about a thousand tokens of the training text to a mean loss below 0.05 nats; otherwise `OverfitResult.message` says
what is likely wrong. The learning rates are the check's own, so the experiment's is not what is tried here. Same
inputs, same result on a CPU.

    overfit(shape, training, tokens, choose_numerics("auto", device), seed=0).message
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paramalloc.allocation import Shape
from paramalloc.config import TrainingConfig
from paramalloc.data.batches import Batches
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics
from paramalloc.training.overfit_diagnosis import Attempt, Ending, Evidence, Levels, problem_with
from paramalloc.training.probe import Probe

TARGET_LOSS = 0.05
MEMORIZED_TOKENS = 1024
RATE_TIMES_WIDTH, HIGHEST_RATE = 0.2, 3e-3  # Adam's steps add up over the width (Yang et al. 2022)
FALLBACKS = (1.0, 0.3, 0.1)  # of the first rate: the next one is tried where one blew up or got stuck
WARMUP_STEPS = 10
MAX_STEPS = 300  # of one attempt; sound shapes from 0.1M to 10M parameters need 60 to 110 at the first rate
PATIENCE_STEPS = 50
LEAST_PROGRESS = 0.02  # an attempt that lowers its loss by less within its patience is stuck
_CANDIDATES_PER_WINDOW = 20
_LEAK_TOLERANCE = 1e-4  # of the largest logit; what no leak explains is rounding

OnStep = Callable[[int, float], None]


@dataclass(frozen=True)
class OverfitResult:
    """The outcome with what it rests on. `message` is a sentence for a person; losses are in nats per token."""

    passed: bool
    message: str
    tokens: int
    target_loss: float
    evidence: Evidence

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def overfit(
    shape: Shape,
    training: TrainingConfig,
    tokens: np.ndarray,
    numerics: Numerics,
    seed: int,
    on_step: OnStep = lambda step, loss: None,
) -> OverfitResult:
    """Check one shape, with a fresh model for each learning rate that is tried.

    Args:
        shape: of the model.
        training: betas and gradient clipping; weight decay, schedule and learning rate are not used.
        tokens: the training text, (N,) token ids.
        numerics: device and precision.
        seed: of the weights and of the choice of text.
        on_step: told after each step how many were taken in all, and its loss.

    Errors: UserError when the text is shorter than one window.
    """
    inputs, targets = (torch.from_numpy(ids).to(numerics.device) for ids in _text(tokens, shape, seed))
    evidence = _inspect(Transformer(shape, seed).to(numerics.device), inputs, targets)
    if problem_with(evidence, TARGET_LOSS) is None:
        undecayed = training.model_copy(update={"weight_decay": 0.0})
        for fallback in FALLBACKS:
            probe = Probe(Transformer(shape, seed).to(numerics.device), undecayed, numerics)
            rate = fallback * min(RATE_TIMES_WIDTH / shape.d_model, HIGHEST_RATE)
            evidence = evidence.after(_memorize(probe, inputs, targets, rate, on_step))
            if evidence.attempts[-1].ending in (Ending.MEMORIZED, Ending.OUT_OF_STEPS):
                break
    problem = problem_with(evidence, TARGET_LOSS)
    message = problem or _success(evidence.attempts[-1], inputs.numel())
    return OverfitResult(problem is None, message, inputs.numel(), TARGET_LOSS, evidence)


def _text(tokens: np.ndarray, shape: Shape, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Windows of training text, inputs and targets int64 (B, T), of at least MEMORIZED_TOKENS together.

    No two begin with the same token: what follows a shared beginning could not be told apart, and not be memorized.
    A text with too few different tokens for that gives fewer windows.
    """
    length = min(shape.context_length, MEMORIZED_TOKENS)
    count = math.ceil(MEMORIZED_TOKENS / length)
    inputs, targets = Batches(tokens, length, _CANDIDATES_PER_WINDOW * count, seed).batch(0)
    _, first_of_each = np.unique(inputs[:, 0], return_index=True)
    chosen = np.sort(first_of_each)[:count]
    return inputs[chosen], targets[chosen]


def _inspect(model: Transformer, inputs: Tensor, targets: Tensor) -> Evidence:
    """All that can be known before any step, in fp32 whatever the precision of the training."""
    loss = model.nats(inputs, targets) / targets.numel()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return Evidence(
        levels=_levels(inputs, targets, model.shape.vocab_size),
        first_loss=_finite(loss.item()),
        logit_shift=_logit_shift(model, inputs[:1]),
        broken_weights=tuple(name for name, p in model.named_parameters() if not p.isfinite().all()),
        broken_gradients=tuple(name for name, g in gradients.items() if g is not None and not g.isfinite().all()),
        without_gradient=tuple(name for name, g in gradients.items() if g is None or not g.any()),
    )


def _levels(inputs: Tensor, targets: Tensor, vocab_size: int) -> Levels:
    """Losses that a model cannot beat by knowing nothing, only how frequent tokens are, or only the token before."""
    x, y = inputs.flatten().cpu().numpy(), targets.flatten().cpu().numpy()
    return Levels(math.log(vocab_size), _entropy(y), _entropy(x * vocab_size + y) - _entropy(x))


def _entropy(outcomes: np.ndarray) -> float:
    """Of the empirical distribution of `outcomes` (N,), in nats."""
    _, counts = np.unique(outcomes, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log(shares)).sum())


@torch.no_grad()
def _logit_shift(model: Transformer, row: Tensor) -> float | None:
    """How far, at most, logits of the first half move when the tokens of the second are replaced: row (1, T).

    Relative to the largest logit. 0 for a causal model, None where logits are not finite.
    """
    half = row.shape[1] // 2
    changed = row.clone()
    changed[:, half:] = (changed[:, half:] + 1) % model.shape.vocab_size
    logits = model(row)
    shift = (model(changed) - logits)[:, :half].abs().max()
    relative = _finite((shift / logits.abs().max()).item())
    return 0.0 if relative is not None and relative < _LEAK_TOLERANCE else relative


def _memorize(probe: Probe, inputs: Tensor, targets: Tensor, learning_rate: float, on_step: OnStep) -> Attempt:
    losses: list[float] = []
    norms: list[float | None] = []
    while (ending := _ending(losses)) is None:
        warmup = min(1.0, (len(losses) + 1) / WARMUP_STEPS)
        step = probe.step(inputs, targets, learning_rate * warmup)
        losses.append(step.loss)
        norms.append(_finite(step.grad_norm))
        on_step(len(losses), step.loss)
    return Attempt(learning_rate, probe.numerics.precision, ending, tuple(map(_finite, losses)), tuple(norms))


def _ending(losses: list[float]) -> Ending | None:
    """How an attempt with these losses ended, or None while it goes on."""
    if not losses:
        return None
    if not math.isfinite(losses[-1]):
        return Ending.NOT_FINITE
    if losses[-1] < TARGET_LOSS:
        return Ending.MEMORIZED
    earlier, recent = losses[:-PATIENCE_STEPS], losses[-PATIENCE_STEPS:]
    if earlier and min(recent) > (1 - LEAST_PROGRESS) * min(earlier):
        return Ending.STUCK
    return Ending.OUT_OF_STEPS if len(losses) == MAX_STEPS else None


def _success(attempt: Attempt, tokens: int) -> str:
    return (
        f"memorized {tokens:,} tokens to {attempt.losses[-1]:.4f} nats per token in {len(attempt.losses)} steps at "
        f"learning rate {attempt.learning_rate:.2g}; no position sees a later one, every parameter has a gradient"
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
