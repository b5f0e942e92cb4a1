"""A trial's trained model, found through its folder: weights, tokenizer, scores, and the sweep it belongs to.

Always holds: the tokenizer is the one that the weights were trained with, by its hash; what is missing is a UserError
that says how to get it. `load_trained(Path("results/smoke/finalists/emb45-seed0"), "auto")`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from paramalloc.allocation import Shape
from paramalloc.config import SweepConfig
from paramalloc.data.source_files import sha256_of_file
from paramalloc.errors import UserError
from paramalloc.files import read_json
from paramalloc.model import Transformer
from paramalloc.results import FINALISTS, SCHEMA_VERSION, ResultsFolder, TrialFolder
from paramalloc.sweep_file import load_sweep
from paramalloc.training.checkpoint import Checkpoint, CheckpointStore

WhichCheckpoint = Literal["auto", "best", "last"]


@dataclass(frozen=True)
class TrainedModel:
    """What a trial left behind, put together.

    `checkpoint` says which weights these are, `best` (lowest loss on the slice of dev) or `last`; `step` of
    `last_step` optimiser steps. `metrics` is the trial's metrics.json, whose scores are those of the last step.
    """

    folder: TrialFolder
    config: SweepConfig
    metrics: dict[str, Any]
    model: Transformer
    tokenizer_file: Path
    checkpoint: str
    step: int
    last_step: int


def load_trained(path: Path, which: WhichCheckpoint = "auto") -> TrainedModel:
    """Read the trial in `path` (`results/<sweep>/<stage>/<trial>`); `auto` takes the best weights, else the last.

    Errors: UserError for a folder that is no trial, has not ended, kept no weights, or whose tokenizer is gone.
    """
    folder = trial_folder(path)
    metrics = _read_metrics(folder)
    config = load_sweep(ResultsFolder(folder.root).sweep)
    name, checkpoint, last_step = _choose(folder, which)
    model = Transformer(Shape(**{field.name: metrics[field.name] for field in fields(Shape)}))
    checkpoint.load_weights(model)
    return TrainedModel(
        folder=folder,
        config=config,
        metrics=metrics,
        model=model.eval(),
        tokenizer_file=_tokenizer_file(ResultsFolder(folder.root), metrics),
        checkpoint=name,
        step=checkpoint.step,
        last_step=last_step,
    )


def trial_folder(path: Path) -> TrialFolder:
    """`results/<sweep>/<stage>/<trial>` taken apart."""
    whole = path.resolve()
    return TrialFolder(whole.parent.parent, whole.parent.name, whole.name)


def _read_metrics(folder: TrialFolder) -> dict[str, Any]:
    example = "give the folder of a trial that has ended: <results>/<stage>/<trial>"
    if not folder.metrics.exists():
        got = f"no {folder.metrics.name} in it" if folder.path.is_dir() else "no such folder"
        raise UserError(str(folder.path), got, example)
    try:
        metrics = read_json(folder.metrics)
        version = metrics["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(str(folder.metrics), f"no metrics of a trial ({error})", example) from error
    if version != SCHEMA_VERSION:
        allowed = f"this program reads {SCHEMA_VERSION}; use the one that made these results"
        raise UserError(str(folder.metrics), f"schema_version {version}", allowed)
    return metrics


def _choose(folder: TrialFolder, which: WhichCheckpoint) -> tuple[str, Checkpoint, int]:
    """The name of the weights taken, their checkpoint, and the last step that was saved. Errors: UserError."""
    problems: list[str] = []
    store = CheckpointStore(folder.checkpoints, notify=problems.append)
    best, last = store.best(), store.newest()
    if last is None and problems:
        got = problems[-1].removesuffix("; using the one before")
        raise UserError(str(folder.checkpoints), got, "give another trial, or run this one afresh")
    if last is None:
        allowed = f"only {FINALISTS}/ keeps them once a trial has ended: give one of those"
        raise UserError(str(folder.path), "a trial without weights", allowed)
    if which == "best" and best is None:
        raise UserError("--checkpoint", "best, which this trial did not keep", "allowed here: last")
    if best is not None and which != "last":
        return "best", best, last.step
    return "last", last, last.step


def _tokenizer_file(results: ResultsFolder, metrics: dict[str, Any]) -> Path:
    """tokenizer.json in the results folder. Errors: UserError when it is gone or another one."""
    file = results.tokenizer(metrics["vocab_size"])
    again = f"write it again with `python -m paramalloc data prepare {results.sweep} --results {results.root}`"
    if not file.exists():
        raise UserError(str(file), "no such file", again)
    found = sha256_of_file(file)
    if found != metrics["tokenizer_hash"]:
        got = f"the tokenizer {found[:12]}, not {metrics['tokenizer_hash'][:12]} that the weights were trained with"
        raise UserError(str(file), got, f"{again}, with the text and the versions that the sweep ran with")
    return file
