"""Reading a trial: which weights are taken, that the tokenizer is theirs, and what is said when one is missing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from paramalloc.errors import UserError
from paramalloc.export.card import model_card
from paramalloc.export.trained import load_trained
from paramalloc.files import atomic_write, read_json, write_json
from paramalloc.results import ResultsFolder, TrialFolder

from .conftest import BEST_STEP, LAST_STEP, SHAPE, lively

NOT_THESE = "not on these"


@pytest.mark.parametrize(
    ("which", "seed", "step"), [("auto", 1, BEST_STEP), ("best", 1, BEST_STEP), ("last", 2, LAST_STEP)]
)
def test_the_weights_asked_for_are_taken(trial: TrialFolder, which: str, seed: int, step: int) -> None:
    trained = load_trained(trial.path, which)
    expected = lively(SHAPE, seed).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in trained.model.state_dict().items())
    assert (trained.step, trained.last_step) == (step, LAST_STEP)
    assert trained.checkpoint == ("last" if which == "last" else "best")


def test_without_best_weights_the_last_are_taken(trial: TrialFolder) -> None:
    shutil.rmtree(trial.checkpoints / "best")
    assert load_trained(trial.path).step == LAST_STEP
    with pytest.raises(UserError, match="--checkpoint: got best"):
        load_trained(trial.path, "best")


def test_the_card_tells_which_weights_the_scores_belong_to(trial: TrialFolder) -> None:
    last, best = (model_card(load_trained(trial.path, which)) for which in ("last", "best"))
    assert NOT_THESE in best
    assert NOT_THESE not in last
    for card in (last, best):
        assert "| dev | 12.25 | 12.25 | 12.25 |" in card
        assert f"{SHAPE.total_params:,} parameters" in card
    write_json(trial.metrics, read_json(trial.metrics) | {"test_ppl": None, "dev_ppl": None})
    assert "Not measured" in model_card(load_trained(trial.path))


def test_the_card_of_a_text_of_ones_own_does_not_tell_where_it_lies(trial: TrialFolder) -> None:
    trained = load_trained(trial.path)
    data = trained.config.data.model_copy(update={"corpus": "/home/ada/letters"})
    card = model_card(type(trained)(**{**vars(trained), "config": trained.config.model_copy(update={"data": data})}))
    assert "`letters`" in card
    assert "ada" not in card


def no_checkpoint(trial: TrialFolder) -> None:
    shutil.rmtree(trial.checkpoints)


def spoiled_checkpoints(trial: TrialFolder) -> None:
    for weights in trial.checkpoints.glob("*/model.safetensors"):
        weights.write_bytes(b"spoiled")


def no_metrics(trial: TrialFolder) -> None:
    trial.metrics.unlink()


def no_json(trial: TrialFolder) -> None:
    trial.metrics.write_text("{")


def newer_metrics(trial: TrialFolder) -> None:
    write_json(trial.metrics, {"schema_version": 99})


def another_tokenizer(trial: TrialFolder) -> None:
    write_json(trial.metrics, read_json(trial.metrics) | {"tokenizer_hash": "0" * 64})


def no_tokenizer(trial: TrialFolder) -> None:
    ResultsFolder(trial.root).tokenizer(SHAPE.vocab_size).unlink()


def damaged_tokenizer(trial: TrialFolder) -> None:
    atomic_write(ResultsFolder(trial.root).tokenizer(SHAPE.vocab_size), "{")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_checkpoint, "a trial without weights; only finalists/ keeps them"),
        (spoiled_checkpoints, "changed since it was written"),
        (no_metrics, "no metrics.json in it"),
        (no_json, "no metrics of a trial"),
        (newer_metrics, "schema_version 99"),
        (another_tokenizer, "not 000000000000 that the weights were trained with"),
        (no_tokenizer, r"tokenizer-300.json: got no such file; .*data prepare .*sweep.yaml --results .*tiny`"),
        (damaged_tokenizer, "that the weights were trained with"),
    ],
)
def test_what_is_missing_is_named_with_advice(
    trial: TrialFolder, spoil: Callable[[TrialFolder], None], message: str
) -> None:
    spoil(trial)
    with pytest.raises(UserError, match=message):
        load_trained(trial.path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        load_trained(tmp_path / "none")
