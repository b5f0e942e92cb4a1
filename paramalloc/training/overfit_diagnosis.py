"""What is likely wrong with a model that cannot memorize a little text, judged by the numbers that were seen.

Always holds: a pure function of plain data, so every verdict can be read again from the JSON it rests on; the first
problem in the order of causes is named (broken weights before broken gradients before a loss that does not fall).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

LEAST_FIRST_LOSS = 0.8  # of ln V; an untrained model that is better has been told the targets
NEAR_BELOW, NEAR_ABOVE = 0.95, 1.1  # of a level: a loss between them counts as being at it
_NAMES_SHOWN = 3


class Ending(StrEnum):
    MEMORIZED = "memorized"
    NOT_FINITE = "not finite"
    STUCK = "stuck"
    OUT_OF_STEPS = "out of steps"


@dataclass(frozen=True)
class Levels:
    """The lowest losses (nats per token) for models that know little of the memorized text.

    uniform: nothing, ln V. unigram: how frequent each token is. bigram: the token before, and nothing earlier.
    """

    uniform: float
    unigram: float
    bigram: float


@dataclass(frozen=True)
class Attempt:
    """One run at one learning rate; a loss or gradient norm that was not finite is None."""

    learning_rate: float
    precision: str
    ending: Ending
    losses: tuple[float | None, ...]  # nats per token, before each step
    grad_norms: tuple[float | None, ...]

    @property
    def best_loss(self) -> float:
        return min((loss for loss in self.losses if loss is not None), default=float("inf"))


@dataclass(frozen=True)
class Evidence:
    """What was seen: of the untrained model, and in the attempts that were made. Parameters are named.

    logit_shift: the largest change of any logit when only later tokens are replaced, relative to the largest logit.
    """

    levels: Levels
    first_loss: float | None
    logit_shift: float | None
    broken_weights: tuple[str, ...]
    broken_gradients: tuple[str, ...]
    without_gradient: tuple[str, ...]
    attempts: tuple[Attempt, ...] = ()

    def after(self, attempt: Attempt) -> Evidence:
        return replace(self, attempts=(*self.attempts, attempt))


def problem_with(evidence: Evidence, target_loss: float) -> str | None:
    """What is likely wrong, in words; None when nothing is (or no attempt has been made yet)."""
    problem = _untrained_problem(evidence)
    if problem or not evidence.attempts or evidence.attempts[-1].ending is Ending.MEMORIZED:
        return problem
    best = min(evidence.attempts, key=lambda attempt: attempt.best_loss)
    tried = ", ".join(f"{attempt.learning_rate:.2g}" for attempt in evidence.attempts)
    return f"{_training_problem(best, evidence)} (wanted: below {target_loss:g}; learning rates tried: {tried})"


def _untrained_problem(evidence: Evidence) -> str | None:
    if evidence.broken_weights:
        return f"weights are not finite before the first step: {_some(evidence.broken_weights)}"
    if evidence.first_loss is None or evidence.logit_shift is None:
        return "the untrained model's loss is not finite although its weights are: a layer overflows or divides by 0"
    if evidence.logit_shift > 0:
        return (
            f"positions see later tokens: replacing only those moved logits by {evidence.logit_shift:.1%} of the "
            "largest; the causal mask is missing or shifted, and every loss will be too good"
        )
    if evidence.first_loss < LEAST_FIRST_LOSS * evidence.levels.uniform:
        return (
            f"the untrained model's loss is {evidence.first_loss:.2f}, and ln V, the loss of knowing nothing, is "
            f"{evidence.levels.uniform:.2f}: the targets are among the inputs, or are not counted"
        )
    if evidence.broken_gradients:
        return f"the first gradient is not finite: {_some(evidence.broken_gradients)}"
    if evidence.without_gradient:
        return (
            f"no gradient reaches {_some(evidence.without_gradient)}: detached from the loss, multiplied by zero, "
            "or not used"
        )
    return None


def _training_problem(best: Attempt, evidence: Evidence) -> str:
    """Of the attempt that came furthest."""
    steps, loss, levels = len(best.losses), best.best_loss, evidence.levels
    if best.ending is Ending.NOT_FINITE:
        norm = next((norm for norm in reversed(best.grad_norms) if norm is not None), None)
        seen = "" if norm is None else f", the last gradient norm was {norm:.3g}"
        return (
            f"the loss is not finite from step {steps} on at learning rate {best.learning_rate:.2g} in "
            f"{best.precision}{seen}: numbers overflow, or a layer is unstable"
        )
    assert evidence.first_loss is not None
    if best.ending is Ending.OUT_OF_STEPS:
        return (
            f"the loss falls too slowly: {evidence.first_loss:.2f} to {loss:.2f} in {steps} steps; steps are too "
            "small (is the gradient or the learning rate scaled down?), or the model is too small for the text"
        )
    if _at(evidence.first_loss, loss):
        why = (
            "nothing is learnt although every parameter has a gradient: the optimiser does not move the weights, or "
            "moves others"
        )
    elif _at(levels.unigram, loss):
        why = (
            f"it learns how frequent tokens are ({levels.unigram:.2f}) and no more: the targets do not belong to the "
            "inputs (shuffled, shifted), or the inputs do not reach the head"
        )
    elif _at(levels.bigram, loss):
        why = f"it learns what follows a token ({levels.bigram:.2f}) and no more: attention or positions lack effect"
    else:
        why = "the model is too small for it, or part of it does not learn"
    return f"the loss is stuck at {loss:.2f} after {steps} steps: {why}"


def _at(level: float, loss: float) -> bool:
    return NEAR_BELOW * level < loss < NEAR_ABOVE * level


def _some(names: Sequence[str]) -> str:
    """The first few names, and how many more."""
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
