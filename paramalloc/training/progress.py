"""How far a run has come: its counts and its history, which a checkpoint carries as plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]


@dataclass
class Progress:
    """What a run has behind it; all of it is in the checkpoint. `history` has one row per evaluation.

    Steps count whether taken or skipped. `loss_sum` (nats per token) is over the `loss_steps` steps that were taken
    and looked at since the last evaluation.
    """

    step: int = 0
    skipped_steps: int = 0
    history: list[Row] = field(default_factory=list)
    training_seconds: float = 0.0
    best_dev_loss: float = math.inf
    loss_sum: float = 0.0
    loss_steps: int = 0
