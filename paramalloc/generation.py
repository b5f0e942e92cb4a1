"""Text from a trained model, token by token: sampled, or the likeliest each time.

Always holds: the same model, prompt and `Sampling` give the same tokens on the same machine; a token costs one
position's work, whatever came before it (the key-value cache). `generate(model, [0], 100, Sampling(), 0)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from paramalloc.model import Transformer

Ended = Literal["end of text", "end of the context", "as many tokens as asked for"]


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn: from softmax(logits / `temperature`), 0 being the likeliest token itself.

    `top_k` leaves only that many of the likeliest to draw from (Fan et al. 2018), None all.
    """

    temperature: float = 0.8
    top_k: int | None = 50
    seed: int = 0


@dataclass(frozen=True)
class Continuation:
    """New tokens, without the prompt and without end-of-text, and why there are no more of them."""

    tokens: list[int]
    ended: Ended


@torch.inference_mode()
def generate(
    model: Transformer, prompt: Sequence[int], max_tokens: int, sampling: Sampling, end_of_text: int
) -> Continuation:
    """Continue `prompt` until end-of-text, the end of the context, or `max_tokens` new tokens.

    The model stays in the mode and on the device it came in. Errors: ValueError for an empty prompt, or one longer
    than the context.
    """
    device = model.token_embedding.weight.device
    random = torch.Generator().manual_seed(sampling.seed)
    cache, tokens = model.new_cache(), list[int]()
    if not prompt:
        raise ValueError("a prompt has at least one token")
    unseen = list(prompt)
    while len(tokens) < max_tokens:
        if cache[0].length == model.shape.context_length:
            return Continuation(tokens, "end of the context")
        logits = model(torch.tensor([unseen], device=device), cache)[0, -1]  # (V,)
        token = _draw(logits.float().cpu(), sampling, random)
        if token == end_of_text:
            return Continuation(tokens, "end of text")
        tokens.append(token)
        unseen = [token]
    return Continuation(tokens, "as many tokens as asked for")


def _draw(logits: Tensor, sampling: Sampling, random: torch.Generator) -> int:
    if sampling.temperature == 0:
        return int(logits.argmax())
    if sampling.top_k is not None and sampling.top_k < len(logits):
        least = logits.topk(sampling.top_k).values[-1]
        logits = logits.masked_fill(logits < least, -torch.inf)
    return int(torch.multinomial((logits / sampling.temperature).softmax(-1), 1, generator=random))
