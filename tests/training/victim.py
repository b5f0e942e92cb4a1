"""A small run that saves at every step, for processes that are killed in the midst of it (`test_kills.py`).

Run by path, with FOLDER, PIPE and LAST_OPERATION as globals, it trains and sends each step it has taken through the
pipe; with LAST_OPERATION it kills itself just before that file operation of its checkpoints.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paramalloc.allocation import Shape
from paramalloc.config import TrainingConfig
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics
from paramalloc.training.checkpoint import CheckpointStore
from paramalloc.training.loop import Row, Trainer
from paramalloc.training.run import TrainingRun

SHAPE = Shape(d_model=16, n_layers=1, n_heads=2, d_ff=24, vocab_size=260, context_length=8, tied=True)
TRAINING = TrainingConfig(batch_size=4, checkpoint_seconds=1e-9)
RUN = TrainingRun(SHAPE, TRAINING, budget_tokens=32 * 60, eval_interval_tokens=32 * 5, seed=7, learning_rate=3e-3)
NEVER_SAVING = replace(RUN, training=TRAINING.model_copy(update={"checkpoint_seconds": 1e9}))
TEXT = np.random.default_rng(0).integers(0, 260, 4000).astype(np.uint16)
FILE_OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}


def dev_loss(model: Transformer) -> Row:
    with torch.no_grad():
        tokens = torch.arange(8).unsqueeze(0)
        return {"dev_loss": model.nats(tokens, tokens + 1).item()}


def trainer(folder: Path, run: TrainingRun = RUN) -> Trainer:
    torch.set_num_threads(1)
    store = CheckpointStore(folder)
    return Trainer(run, TEXT, dev_loss, Numerics(torch.device("cpu"), "fp32"), store, keep_best=True)


def die_before(operation: int, folder: Path) -> None:
    """SIGKILL this process when it is about to touch `folder` for that many-th time."""
    count = itertools.count(1)

    def look(event: str, arguments: Iterable[Any]) -> None:
        touches = event in FILE_OPERATIONS and any(str(folder) in str(argument) for argument in arguments)
        if touches and next(count) == operation:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)


if __name__ == "victim":
    victim = trainer(FOLDER)  # noqa: F821
    if LAST_OPERATION:  # noqa: F821
        die_before(LAST_OPERATION, FOLDER)  # noqa: F821
    victim.train(notice=lambda: PIPE.send(victim.progress.step))  # noqa: F821
