"""A few real training steps of a run on a meaningless text, to see what they cost.

Always holds: shape, optimiser, precision and micro-batches are the run's; nothing is left behind.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from paramalloc.data.batches import Batches
from paramalloc.numerics import Numerics
from paramalloc.training.checkpoint import CheckpointStore
from paramalloc.training.loop import Trainer
from paramalloc.training.run import TrainingRun


@contextmanager
def rehearsal(run: TrainingRun, numerics: Numerics, most_sequences: int | None = None) -> Iterator[Trainer]:
    """A trainer whose step takes the run's batch, or `most_sequences` (default: one micro-batch) where that is less.

    A batch is worked off in micro-batches, so a smaller one repeats the same work less often.
    """
    length = run.shape.context_length
    text = np.random.default_rng(0).integers(run.shape.vocab_size, size=run.step_tokens + 1)
    with tempfile.TemporaryDirectory() as nowhere:
        trainer = Trainer(run, text, lambda model: {}, numerics, CheckpointStore(Path(nowhere)))
        sequences = min(run.training.batch_size, most_sequences or trainer.micro_batch)
        trainer.batches = Batches(text, length, sequences, run.seed)
        yield trainer
