"""The step loop: one training run that can be cut at any step and carried on as if it never had been.

Always holds: batch, learning rate and evaluation points are functions of (seed, step); everything else that a step
reads is in the checkpoint, so interrupted plus resumed equals uninterrupted, bit for bit on a CPU with the same
threads. A loss that is not finite ends the run as diverged and is never saved.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from paramalloc.data.batches import Batches
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics, micro_batch_size
from paramalloc.training.checkpoint import CheckpointStore
from paramalloc.training.optimizer import learning_rate_at, make_optimizer
from paramalloc.training.run import TrainingRun

FINITE_CHECK_STEPS = 20  # reading the loss makes the host wait for the GPU, so it is read now and then only

Row = dict[str, Any]
Evaluate = Callable[[Transformer], Row]


class Diverged(Exception):
    """The loss was not finite. `step` is how many optimiser steps had been taken when this was noticed."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the training loss was not finite within the first {step} steps")
        self.step = step


@dataclass
class Progress:
    """What a run has behind it; all of it is in the checkpoint. `history` has one row per evaluation."""

    step: int = 0
    history: list[Row] = field(default_factory=list)
    training_seconds: float = 0.0
    best_dev_loss: float = math.inf


class Trainer:
    """Trains one model to the end of its budget, from its newest checkpoint if there is one.

    Args:
        run: what to train.
        tokens: the training text, (N,) token ids.
        evaluate: scores the model on the fixed slice of dev; its values join the history row.
        numerics: device and precision.
        checkpoints: where the run's state is kept.
        keep_best: also keep the weights with the lowest `dev_loss`.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        run: TrainingRun,
        tokens: Any,
        evaluate: Evaluate,
        numerics: Numerics,
        checkpoints: CheckpointStore,
        *,
        keep_best: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run, self.evaluate, self.numerics, self.checkpoints = run, evaluate, numerics, checkpoints
        self.keep_best, self.clock = keep_best, clock
        shape, training = run.shape, run.training
        self.batches = Batches(tokens, shape.context_length, training.batch_size, run.seed)
        torch.manual_seed(run.seed)
        self.model = Transformer(shape, run.seed).to(numerics.device)
        self.optimizer = make_optimizer(self.model, training)
        self.scaler = numerics.scaler()
        self.micro_batch = (
            micro_batch_size(training.batch_size, shape.context_length, shape.vocab_size, numerics.device)
            if training.micro_batch_size == "auto"
            else min(training.micro_batch_size, training.batch_size)
        )
        self.progress = Progress()
        self._loss_sum = torch.zeros((), dtype=torch.float64, device=numerics.device)
        self._loss_steps = 0
        self._grad_norm = torch.zeros((), device=numerics.device)
        self._resume()

    def train(self, on_evaluation: Callable[[Row], None] = lambda row: None) -> None:
        """Take the steps that are missing; `on_evaluation` is given each new history row.

        Errors: Diverged when the loss is not finite; OSError when a checkpoint cannot be written. What
        `on_evaluation` raises ends the run and passes through.
        """
        evaluation_steps = set(self.run.evaluation_steps)
        saved_at = started = self.clock()
        while self.progress.step < self.run.total_steps:
            self.take_step()
            step = self.progress.step
            last = step == self.run.total_steps
            evaluates = step in evaluation_steps
            saves = last or self.clock() - saved_at >= self.run.training.checkpoint_seconds
            if evaluates or step % FINITE_CHECK_STEPS == 0:
                self._require_finite(self._loss_sum)
            if evaluates or saves:  # neither of them is training time
                self.progress.training_seconds += self.clock() - started
            if evaluates:
                on_evaluation(self._evaluate())
            if saves and torch.isfinite(self._loss_sum):
                self.checkpoints.save(step, self.model, self._state())
                saved_at = self.clock()
            if evaluates or saves:
                started = self.clock()

    @property
    def tokens_per_second(self) -> float | None:
        """Training tokens over training seconds, without evaluation and checkpoints; None before the first step."""
        if not self.progress.training_seconds:
            return None
        return self.progress.step * self.run.step_tokens / self.progress.training_seconds

    def take_step(self) -> None:
        step, run = self.progress.step, self.run
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(step, run.total_steps, run.training)
        loss = self._accumulate_gradients(step)
        self.scaler.unscale_(self.optimizer)
        self._grad_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), run.training.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._loss_sum += loss
        self._loss_steps += 1
        self.progress.step += 1

    def _accumulate_gradients(self, step: int) -> torch.Tensor:
        """Backward over micro-batches of the step's batch; returns its mean loss in nats per token."""
        inputs, targets = (torch.from_numpy(part) for part in self.batches.batch(step))  # (B, T) each
        total = torch.zeros((), dtype=torch.float64, device=self.numerics.device)
        for start in range(0, len(inputs), self.micro_batch):
            part = slice(start, start + self.micro_batch)
            x = inputs[part].to(self.numerics.device, non_blocking=True)
            y = targets[part].to(self.numerics.device, non_blocking=True)
            with self.numerics.autocast():
                loss = self.model.nats(x, y) / targets.numel()
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def _require_finite(self, loss: torch.Tensor | float) -> None:
        """Called at steps that depend on nothing but the run, so that a divergence has one step number."""
        if not math.isfinite(loss):
            raise Diverged(self.progress.step)

    def _evaluate(self) -> Row:
        progress = self.progress
        scores = self.evaluate(self.model)
        self._require_finite(scores["dev_loss"])
        row: Row = {
            "step": progress.step,
            "tokens": progress.step * self.run.step_tokens,
            "train_loss": (self._loss_sum / self._loss_steps).item(),  # mean since the last evaluation
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "grad_norm": self._grad_norm.item() if torch.isfinite(self._grad_norm) else None,
            **scores,
            "training_seconds": progress.training_seconds,
        }
        self._loss_sum.zero_()
        self._loss_steps = 0
        progress.history.append(row)
        if scores["dev_loss"] < progress.best_dev_loss:
            progress.best_dev_loss = scores["dev_loss"]
            if self.keep_best:
                self.checkpoints.save_best(progress.step, self.model, {"dev_loss": progress.best_dev_loss})
        return row

    def _state(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.numerics.device) if self._on_cuda else None,
            "loss_sum": self._loss_sum.cpu(),
            "loss_steps": self._loss_steps,
            "progress": vars(self.progress),
        }

    @property
    def _on_cuda(self) -> bool:
        return self.numerics.device.type == "cuda"

    def _resume(self) -> None:
        checkpoint = self.checkpoints.newest()
        if checkpoint is None:
            return
        checkpoint.load_weights(self.model)
        state = checkpoint.training
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["rng"])
        if self._on_cuda and state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], self.numerics.device)
        self._loss_sum = state["loss_sum"].to(self.numerics.device)
        self._loss_steps = state["loss_steps"]
        self.progress = Progress(**state["progress"])
