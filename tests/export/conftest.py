"""A tiny model with its tokenizer, and a trial folder as a sweep leaves it behind."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from paramalloc.allocation import Shape
from paramalloc.config import SweepConfig
from paramalloc.data.prepare import prepare
from paramalloc.data.tokenizer import tokenizer_json, train_tokenizer
from paramalloc.files import atomic_write, write_json
from paramalloc.model import Transformer
from paramalloc.results import FINISHED, SCHEMA_VERSION, ResultsFolder, TrialFolder
from paramalloc.sweep_file import check_sweep, dump_sweep
from paramalloc.training.checkpoint import CheckpointStore

SHAPE = Shape(d_model=24, n_layers=2, n_heads=3, d_ff=40, vocab_size=300, context_length=32, tied=True)
BEST_STEP, LAST_STEP = 7, 9


def lively(shape: Shape, seed: int) -> Transformer:
    """A model whose logits depend on every part: initial weights barely look at other positions."""
    model = Transformer(shape, seed).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3).add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)) * 0.01)
    return model


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    text = "the cat sat on the mat, and the dog sat on the log; the end of the text"
    atomic_write(path, tokenizer_json(train_tokenizer([text] * 3, 270)))
    return path


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> SweepConfig:
    cache = str(tmp_path_factory.mktemp("cache"))
    return check_sweep(
        {
            "name": "tiny",
            "data": {"corpus": "synthetic", "synthetic_bytes": 100_000, "cache_dir": cache},
            "experiments": [{"name": "base"}],
        }
    )


@pytest.fixture
def trial(tmp_path: Path, sweep: SweepConfig) -> TrialFolder:
    """A finalist whose best weights (seed 1) are older than its last (seed 2)."""
    folder = ResultsFolder(tmp_path / "results" / "tiny")
    atomic_write(folder.sweep, dump_sweep(sweep))
    tokens = prepare(sweep.data, SHAPE.vocab_size)
    atomic_write(folder.tokenizer(SHAPE.vocab_size), tokens.tokenizer_file.read_bytes())
    made = folder.trial("finalists", "base-seed0")
    scores = {f"{split}_{unit}": 12.25 for split in ("dev", "test") for unit in ("ppl", "bpb", "word_ppl")}
    write_json(
        made.metrics,
        {
            "schema_version": SCHEMA_VERSION,
            "status": FINISHED,
            "tokenizer_hash": tokens.tokenizer_hash,
            "seed": 0,
            "tokens": 12_345,
            "epochs_over_corpus": 0.5,
            "total_params": SHAPE.total_params,
            "embedding_share": SHAPE.embedding_share,
            **asdict(SHAPE),
            **scores,
        },
    )
    checkpoints = CheckpointStore(made.checkpoints)
    checkpoints.save_best(BEST_STEP, lively(SHAPE, 1), {"dev_loss": 2.5})
    checkpoints.save(LAST_STEP, lively(SHAPE, 2), {})
    return made
