"""The step loop: one training run that can be cut at any step and carried on as if it never had been.

Always holds: batch, learning rate and evaluation points are functions of (seed, step); everything else that a step
reads is in the checkpoint, so interrupted plus resumed equals uninterrupted, bit for bit on a CPU with the same
threads, with telemetry or without. Checkpoints are written beside training; a notice to leave ends a run with its
state saved, at a step boundary. Weights that are not finite are never saved. A step whose loss or gradient is not
finite ends the run as diverged; under fp16, where the scaler undoes such a step, only more of them in a row than loss
scaling can be to blame for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch

from paramalloc.data.batches import Batches
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics, micro_batch_size
from paramalloc.telemetry import Telemetry
from paramalloc.training.background import BackgroundWriter
from paramalloc.training.checkpoint import CheckpointStore
from paramalloc.training.compilation import compiled
from paramalloc.training.optimizer import learning_rate_at, make_optimizer
from paramalloc.training.progress import Progress, Row
from paramalloc.training.run import TrainingRun
from paramalloc.training.snapshot import FrozenWeights, snapshot
from paramalloc.training.step import accumulate_gradients, update
from paramalloc.training.tally import Tally, Window

LOOK_STEPS = 20  # looking at the loss makes the host wait for the GPU, so it is done now and then only

Evaluate = Callable[[Transformer], Row]


class Diverged(Exception):
    """Training broke down. `step` is how many optimiser steps had been taken when this was noticed."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss, a gradient or a weight was not finite within the first {step} steps")
        self.step = step


class Preempted(Exception):
    """The run has to leave its machine, for `reason`. It carries on from its checkpoint after `step` steps (0: none).

    Nothing is lost, unless the state was not finite: then `step` is that of the checkpoint before.
    """

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"{reason}: the run carries on from step {step}")
        self.step, self.reason = step, reason


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
        self._nats = compiled(self.model.nats, run, numerics)
        self.optimizer = make_optimizer(self.model, training, run.learning_rate)
        self.scaler = numerics.scaler()
        self.micro_batch = (
            micro_batch_size(training.batch_size, shape.context_length, numerics.device)
            if training.micro_batch_size == "auto"
            else min(training.micro_batch_size, training.batch_size)
        )
        self.progress = Progress()
        self.tally = Tally(numerics.device)
        self._resume()
        self._looked_at = (self.progress.step, self.progress.training_seconds)
        self._saved_step, self._saved_at = self.progress.step, -math.inf  # time counts from the start of `train`

    def train(
        self,
        on_evaluation: Callable[[Row], None] = lambda row: None,
        telemetry: Telemetry | None = None,
        notice: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Take the steps that are missing.

        Args:
            on_evaluation: given each new history row, at a moment when nothing is being written.
            telemetry: given the curves.
            notice: asked between any two steps, so it must be cheap: why the run has to leave its machine now, or
                None. Past the last step it is not asked any more.

        Errors: Preempted after a notice, with the state saved; Diverged when the run broke down; OSError when a
        checkpoint cannot be written, raised at the next one, the next evaluation or the end. What `on_evaluation`
        raises ends the run and passes through. When this returns or raises, no thread is left.
        """
        with BackgroundWriter() as writer:
            reason = self._train(on_evaluation, telemetry or Telemetry(), notice, writer)
        if reason is not None:
            raise Preempted(self._saved_step, reason)

    def _train(
        self,
        on_evaluation: Callable[[Row], None],
        telemetry: Telemetry,
        notice: Callable[[], str | None],
        writer: BackgroundWriter,
    ) -> str | None:
        """Train to the end, or to a notice, whose reason is then returned."""
        evaluation_steps, total_steps = set(self.run.evaluation_steps), self.run.total_steps
        self._saved_at = started = self.clock()
        reason = None if self.progress.step == total_steps else notice()
        while reason is None and self.progress.step < total_steps:
            self.take_step()
            step = self.progress.step
            ends = step == total_steps
            reason = None if ends else notice()
            evaluates = step in evaluation_steps
            looks = evaluates or step % LOOK_STEPS == 0  # fixed steps, so that a divergence has one step number
            due = self.clock() - self._saved_at >= self.run.training.checkpoint_seconds
            saves = due or ends or reason is not None
            if not (looks or saves):
                continue
            window = self.tally.read()  # waits for the device: training time ends here
            self.progress.training_seconds += self.clock() - started
            sound, is_best = self._is_sound(window), False
            if looks:
                if not sound:
                    raise Diverged(step)
                values = self._look(window)
                scores = self._score() if evaluates else {}
                telemetry.log(step, {**scores, **values})
                if evaluates:
                    writer.wait()  # whoever is told may end the run and clear its folder away
                    is_best = self.keep_best and scores["dev_loss"] < self.progress.best_dev_loss
                    on_evaluation(self._record(values, scores))
            if sound and (saves or is_best):
                self._save(writer, telemetry, resumable=saves, best=is_best)
            started = self.clock()
        return reason

    @property
    def tokens_per_second(self) -> float | None:
        """Training tokens over training seconds, without evaluation and checkpoints; None before the first step."""
        if not self.progress.training_seconds:
            return None
        return self.progress.step * self.run.step_tokens / self.progress.training_seconds

    def take_step(self) -> None:
        step, run = self.progress.step, self.run
        loss = self._accumulate_gradients(step)
        rate, clip = learning_rate_at(step, run), run.training.grad_clip
        self.tally.add(loss, update(self.model, self.optimizer, self.scaler, rate, clip))
        self.progress.step += 1

    def _accumulate_gradients(self, step: int) -> torch.Tensor:
        """Backward over the step's batch; returns its mean loss in nats per token."""
        inputs, targets = (torch.from_numpy(part) for part in self.batches.batch(step))  # (B, T) each
        return accumulate_gradients(self._nats, inputs, targets, self.micro_batch, self.numerics, self.scaler)

    def _is_sound(self, window: Window) -> bool:
        """Whether the run may go on and be saved. An update can overflow weights whose gradient was finite."""
        if window.most_skips_in_a_row > self.numerics.tolerated_skips:
            return False
        with torch.no_grad():
            return math.isfinite(torch.nn.utils.get_total_norm(self.model.parameters()))

    def _look(self, window: Window) -> Row:
        """Enter the window into the run's progress; returns what the curves show of it."""
        progress, (step, seconds) = self.progress, self._looked_at
        progress.skipped_steps += window.skipped
        progress.loss_sum += window.loss_sum
        progress.loss_steps += window.taken
        self.tally.clear()
        self._looked_at = (progress.step, progress.training_seconds)
        tokens, duration = (progress.step - step) * self.run.step_tokens, progress.training_seconds - seconds
        return {
            "tokens": progress.step * self.run.step_tokens,
            "train_loss": window.train_loss,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "grad_norm": window.grad_norm,
            "skipped_steps": progress.skipped_steps,
            "tokens_per_second": tokens / duration if duration else None,
        }

    def _score(self) -> Row:
        scores = self.evaluate(self.model)
        if not math.isfinite(scores["dev_loss"]):
            raise Diverged(self.progress.step)
        return scores

    def _record(self, values: Row, scores: Row) -> Row:
        """A new row of the history."""
        progress = self.progress
        row: Row = {
            "step": progress.step,
            **{name: values[name] for name in ("tokens", "learning_rate", "grad_norm", "skipped_steps")},
            "train_loss": progress.loss_sum / progress.loss_steps if progress.loss_steps else None,  # since the last
            **scores,
            "training_seconds": progress.training_seconds,
        }
        progress.loss_sum, progress.loss_steps = 0.0, 0
        progress.history.append(row)
        progress.best_dev_loss = min(progress.best_dev_loss, scores["dev_loss"])
        return row

    def _save(self, writer: BackgroundWriter, telemetry: Telemetry, *, resumable: bool, best: bool) -> None:
        """Copy the state out once the write before is through, and have the copy written beside training.

        Curves are flushed first, so that they are on disk when the checkpoint is. The best weights are written
        before the state to resume from, which knows of them and would not save them again.
        """
        writer.wait()
        telemetry.flush()
        step, store, dev_loss = self.progress.step, self.checkpoints, self.progress.best_dev_loss
        weights = FrozenWeights.of(self.model)
        state = snapshot(self._state()) if resumable else {}

        def write() -> None:
            if best:
                store.save_best(step, weights, {"dev_loss": dev_loss})
            if resumable:
                store.save(step, weights, state)

        writer.start(write)
        if resumable:
            self._saved_step, self._saved_at = step, self.clock()

    def _state(self) -> dict[str, Any]:
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.numerics.device) if self._on_cuda else None,
            "tally": self.tally.state(),
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
        self.tally.load(state["tally"])
        self.progress = Progress(**state["progress"])
