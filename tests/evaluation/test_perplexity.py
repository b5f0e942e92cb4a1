"""Scores of held-out text: every token once, against a plain loop, and in the right units."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch

from paramalloc.allocation import Shape
from paramalloc.data.token_set import HeldOut
from paramalloc.evaluation.perplexity import nats_per_document, sample_documents, score
from paramalloc.evaluation.units import Score, is_capped, perplexity
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics

END_OF_TEXT = 0
SHAPE = Shape(d_model=16, n_layers=1, n_heads=2, d_ff=24, vocab_size=300, context_length=8, tied=True)
CPU = Numerics(torch.device("cpu"), "fp32")


def held_out(*lengths: int) -> HeldOut:
    tokens = np.random.default_rng(1).integers(1, 300, sum(lengths)).astype(np.uint16)
    return HeldOut(
        tokens=tokens,
        starts=np.cumsum([0, *lengths]),
        bytes_per_document=np.array(lengths) * 4,
        words_per_document=np.array(lengths) // 2 + 1,
    )


@pytest.fixture(scope="module")
def model() -> Transformer:
    model = Transformer(SHAPE, seed=4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 10  # far from uniform, so that a wrong context shows
    return model


def plainly(model: Transformer, text: HeldOut, document: int) -> float:
    """One token at a time, in lm-evaluation-harness' windows: full ones from the start, the last reaching back."""
    words = text.tokens[text.starts[document] : text.starts[document + 1]].tolist()
    sequence = [END_OF_TEXT, *words]
    total = 0.0
    for position in range(len(words)):  # predicts words[position]
        window = position // 8
        begin = window * 8
        if (window + 1) * 8 > len(words):
            begin = max(0, len(words) - 8)
        context = torch.tensor([sequence[begin : position + 1]])
        with torch.no_grad():
            total -= model(context)[0, -1].log_softmax(-1)[words[position]].item()
    return total


def test_every_token_is_scored_once_in_its_context(model: Transformer) -> None:
    text = held_out(1, 7, 8, 9, 16, 21)
    expected = [plainly(model, text, document) for document in range(6)]
    assert nats_per_document(model, text, END_OF_TEXT, CPU) == pytest.approx(expected, rel=1e-5)


def test_a_uniform_model_has_the_perplexity_of_its_vocabulary() -> None:
    uniform = Transformer(SHAPE)
    torch.nn.init.zeros_(uniform.head.weight)
    result = score(uniform, held_out(9, 30), END_OF_TEXT, CPU)
    assert result.ppl == pytest.approx(300, rel=1e-5)
    assert result.bpb == pytest.approx(math.log2(300) * 39 / (39 * 4), rel=1e-5)
    assert result.word_ppl == pytest.approx(math.exp(min(20, 39 * math.log(300) / (5 + 16))), rel=1e-5)


def test_padding_and_batching_change_nothing(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = held_out(5, 30, 2, 11)
    rows: list[int] = []
    nats = model.nats

    def counted(inputs: torch.Tensor, *others: Any, **options: Any) -> torch.Tensor:
        rows.append(len(inputs))
        return nats(inputs, *others, **options)

    monkeypatch.setattr(model, "nats", counted)
    together = nats_per_document(model, text, END_OF_TEXT, CPU)
    windows = rows.pop()
    assert not rows  # all in one batch
    monkeypatch.setattr("paramalloc.numerics._TOKENS_AT_ONCE", {"cpu": 1})
    alone = nats_per_document(model, text, END_OF_TEXT, CPU)
    assert rows == [1] * windows
    assert together == pytest.approx(alone, rel=1e-5)


def test_the_mode_of_the_model_is_left_as_it_was(model: Transformer) -> None:
    model.train()
    score(model, held_out(3), END_OF_TEXT, CPU)
    assert model.training


def test_a_sample_is_spread_over_the_documents_and_stays_within_its_bytes() -> None:
    text = held_out(*[10, 20, 30] * 20)  # 40, 80 and 120 bytes
    sample = sample_documents(text, 900)
    assert 700 < sample.bytes_per_document.sum() <= 900
    first = text.tokens[:10].tolist()
    assert sample.tokens[:10].tolist() == first
    assert sample.tokens[-30:].tolist() == text.tokens[-30:].tolist()
    assert np.diff(sample.starts).tolist() == (sample.bytes_per_document // 4).tolist()


def test_a_sample_has_at_least_one_document_and_at_most_all() -> None:
    text = held_out(20, 10, 30)
    assert sample_documents(text, 1).bytes_per_document.tolist() == [40]
    assert np.array_equal(sample_documents(text, 10**9).tokens, text.tokens)


def test_units() -> None:
    text = Score(nats=200 * math.log(2), tokens=100, bytes=400, words=50)
    assert text.bpb == pytest.approx(0.5)
    assert text.ppl == pytest.approx(4)
    assert text.word_ppl == pytest.approx(16)


def test_a_hopeless_perplexity_is_large_and_finite_and_nan_stays_nan() -> None:
    assert perplexity(1000.0) == math.exp(20)
    assert math.isnan(perplexity(math.nan))


def test_a_capped_perplexity_is_told_from_a_measured_one() -> None:
    assert is_capped(json.loads(json.dumps(perplexity(25.0))))
    assert is_capped(perplexity(20.0))
    assert not is_capped(perplexity(19.999))
