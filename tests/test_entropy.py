"""The built-in corpus as a referee: a sound model comes towards its true entropy and never below; a leak shows.

A model that sees the future scores below what is possible, so this test fails for a broken causal mask. It is given
one to make sure. What a sound model has learnt shows in the probes of the corpus' world as well.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from paramalloc.allocation import Shape
from paramalloc.attention import split_heads
from paramalloc.config import DataConfig, TrainingConfig
from paramalloc.data.prepare import prepare
from paramalloc.data.synthetic import SyntheticCorpus
from paramalloc.data.synthetic_probes import synthetic_tasks
from paramalloc.data.token_set import TokenSet
from paramalloc.data.tokenizer import load_tokenizer
from paramalloc.evaluation.perplexity import sample_documents, score
from paramalloc.evaluation.smallbench.scoring import evaluate_smallbench
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics
from paramalloc.training.checkpoint import CheckpointStore
from paramalloc.training.loop import Trainer
from paramalloc.training.run import TrainingRun

CPU = Numerics(torch.device("cpu"), "fp32")
DATA = {"corpus": "synthetic", "synthetic_bytes": 1_500_000}
SHAPE = Shape(d_model=64, n_layers=1, n_heads=2, d_ff=168, vocab_size=2048, context_length=16, tied=True)
BUDGET_TOKENS = 200_000


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> TokenSet:
    config = DataConfig(**DATA, cache_dir=str(tmp_path_factory.mktemp("cache")))
    return prepare(config, SHAPE.vocab_size)


@pytest.fixture(scope="module")
def source_bpb() -> float:
    """Bits per byte of the very dev text under the source that wrote it: no honest model is expected to beat it."""
    corpus = SyntheticCorpus(DATA["synthetic_bytes"], DataConfig(**DATA).seed)
    documents = list(corpus.documents("dev"))
    bits = sum(corpus.source_bits(document) for document in documents)
    bpb = bits / sum(len(document.encode()) for document in documents)
    assert bpb == pytest.approx(corpus.entropy_bits_per_byte, rel=0.03)
    return bpb


def trained(tokens: TokenSet, folder: Path, budget: int = BUDGET_TOKENS) -> tuple[list[float], Transformer]:
    """Dev bits per byte at five points of a training run, and the model at its end."""
    training = TrainingConfig(batch_size=16)
    run = TrainingRun(SHAPE, training, budget, budget // 5, seed=0, learning_rate=5e-3)
    dev = sample_documents(tokens.dev, max_bytes=20_000)

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        result = score(model, dev, tokens.end_of_text, CPU)
        return {"dev_loss": result.loss, "dev_bpb": result.bpb}

    trainer = Trainer(run, tokens.train, evaluate, CPU, CheckpointStore(folder))
    trainer.train()
    return [row["dev_bpb"] for row in trainer.progress.history], trainer.model


def probe_accuracies(model: Transformer, tokens: TokenSet) -> dict[str, float]:
    tokenizer = load_tokenizer(tokens.tokenizer_file)
    results = evaluate_smallbench(model, tokenizer, synthetic_tasks(200, seed=0), tokens.end_of_text, CPU)
    return {name: result["accuracy"] for name, result in results.items()}


def comes_towards_the_entropy_and_not_below(curve: list[float], source_bpb: float) -> bool:
    excess = [bpb - source_bpb for bpb in curve]
    return min(excess) > 0 and excess[-1] < 0.6 * excess[0]


def test_a_sound_model_approaches_the_entropy_from_above(tokens: TokenSet, source_bpb: float, tmp_path: Path) -> None:
    curve, model = trained(tokens, tmp_path)
    assert comes_towards_the_entropy_and_not_below(curve, source_bpb), (curve, source_bpb)
    before, after = (probe_accuracies(each, tokens) for each in (Transformer(SHAPE), model))
    assert max(before.values()) < 0.62 < 0.65 < min(after.values()), (before, after)


def test_a_broken_causal_mask_is_found_out(
    tokens: TokenSet, source_bpb: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sees_all(qkv: torch.Tensor, n_heads: int) -> torch.Tensor:
        return F.scaled_dot_product_attention(*split_heads(qkv, n_heads)).transpose(1, 2).flatten(2)

    monkeypatch.setattr("paramalloc.model.causal_attention", sees_all)
    curve, _ = trained(tokens, tmp_path, BUDGET_TOKENS // 4)
    assert min(curve) < source_bpb, (curve, source_bpb)
