"""Perplexity and bits per byte of held-out documents, every token scored exactly once.

Always holds: a document is scored on its own, its first token given end-of-text, in windows of at most the context
length; the last window of a long document reaches back so that its context is full. The windows are those of
lm-evaluation-harness' rolling log-likelihood. End-of-text itself is never a target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from paramalloc.cross_entropy import IGNORED_TARGET
from paramalloc.data.token_set import HeldOut
from paramalloc.evaluation.units import Score
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics, scoring_batch_size


def sample_documents(held_out: HeldOut, max_bytes: float) -> HeldOut:
    """At most `max_bytes` of documents, but at least one, evenly spread; the same text under every tokenizer."""
    sizes = held_out.bytes_per_document
    count = int(np.clip(max_bytes / sizes.mean(), 1, len(sizes)))
    while True:
        chosen = (
            np.linspace(0, len(sizes) - 1, count).round().astype(int) if count > 1 else _best_alone(sizes, max_bytes)
        )
        if count == 1 or sizes[chosen].sum() <= max_bytes:
            break
        count -= 1
    texts = [held_out.tokens[held_out.starts[i] : held_out.starts[i + 1]] for i in chosen]
    return HeldOut(
        tokens=np.concatenate(texts),
        starts=np.cumsum([0, *(len(text) for text in texts)]),
        bytes_per_document=sizes[chosen],
        words_per_document=held_out.words_per_document[chosen],
    )


def _best_alone(sizes: np.ndarray, max_bytes: float) -> np.ndarray:
    """The longest document that fits, or the shortest; (1,)."""
    fitting = np.where(sizes <= max_bytes, sizes, 0)
    return np.array([fitting.argmax() if fitting.any() else sizes.argmin()])


def score(model: Transformer, held_out: HeldOut, end_of_text: int, numerics: Numerics) -> Score:
    """Score all documents of `held_out`; the model is left in the mode it came in."""
    return Score.of(nats_per_document(model, held_out, end_of_text, numerics), held_out)


@torch.inference_mode()
def nats_per_document(model: Transformer, held_out: HeldOut, end_of_text: int, numerics: Numerics) -> np.ndarray:
    """Total nats of each document, (D,) float64."""
    length = model.shape.context_length
    windows = _windows(held_out.starts, length)
    windows.sort(key=lambda window: window.size)  # neighbours of like length waste little padding
    per_batch = scoring_batch_size(length, numerics.device)
    nats = np.zeros(len(held_out.starts) - 1)
    was_training = model.training
    model.eval()
    for start in range(0, len(windows), per_batch):
        batch = windows[start : start + per_batch]
        inputs, targets = _assemble(batch, held_out.tokens, end_of_text)
        with numerics.autocast():
            losses = model.nats(inputs.to(numerics.device), targets.to(numerics.device), reduction="none")
        sums = losses.double().sum(dim=1).cpu().numpy()
        np.add.at(nats, [window.document for window in batch], sums)
    model.train(was_training)
    return nats


@dataclass(frozen=True)
class _Window:
    """Tokens [begin, end) of the text are targets, those before `scored_from` for context only."""

    document: int
    begin: int
    end: int
    scored_from: int
    opens_document: bool

    @property
    def size(self) -> int:
        return self.end - self.begin


def _windows(starts: np.ndarray, length: int) -> list[_Window]:
    windows = []
    for document, (first, last) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)):
        for scored_from in range(first, last, length):
            end = min(scored_from + length, last)
            begin = max(first, end - length)
            windows.append(_Window(document, begin, end, scored_from, begin == first))
    return windows


def _assemble(batch: list[_Window], tokens: np.ndarray, end_of_text: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets, (B, longest window) each, padded at the right, where a causal model never looks."""
    longest = max(window.size for window in batch)
    inputs = np.full((len(batch), longest), end_of_text, dtype=np.int64)
    targets = np.full((len(batch), longest), IGNORED_TARGET, dtype=np.int64)
    for row, window in enumerate(batch):
        text = tokens[window.begin : window.end]
        inputs[row, 1 : window.size] = text[:-1]
        if not window.opens_document:
            inputs[row, 0] = tokens[window.begin - 1]
        skipped = window.scored_from - window.begin
        targets[row, skipped : window.size] = text[skipped:]
    return torch.from_numpy(inputs), torch.from_numpy(targets)
