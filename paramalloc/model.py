"""The transformer every variant is an instance of: pre-norm, causal attention, SwiGLU, learned positions.

Always holds: the parameter count of each component is `Shape.params_by_component()` exactly; a tied head shares the
token table's storage; position t sees positions 0..t and no later one, in one pass or, with `new_cache()`, in
several. `Transformer(shape, seed=0)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paramalloc.allocation import Shape
from paramalloc.attention import causal_attention, split_heads
from paramalloc.cross_entropy import nats_per_token, summed_nats

# GPT-2's spread of initial weights, 0.02, and the width it was chosen for.
INIT_STD, INIT_WIDTH = 0.02, 768


class LayerCache:
    """Keys and values of one layer's tokens so far, so that a further token costs only its own.

    Source: incremental decoding in Shazeer 2019 (arXiv:1911.02150); its cost in Pope et al. 2022 (arXiv:2211.05102).
    Room for the whole context is taken once, in the device and number format of the first keys.
    """

    def __init__(self, context_length: int) -> None:
        self.context_length, self.length = context_length, 0
        self._room = torch.empty(0)  # (2, B, H, context length, head size)

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Take in (B, H, T, head size) of T more tokens; returns those of all tokens so far."""
        if not self.length:
            batch, heads, _, head_size = keys.shape
            self._room = keys.new_empty(2, batch, heads, self.context_length, head_size)
        begin, self.length = self.length, self.length + keys.shape[2]
        self._room[0, :, :, begin : self.length] = keys
        self._room[1, :, :, begin : self.length] = values
        return self._room[0, :, :, : self.length], self._room[1, :, :, : self.length]


Cache = list[LayerCache]  # one per layer


class Attention(nn.Module):
    """Causal multi-head self-attention without biases (Vaswani et al. 2017, section 3.2)."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor, cache: LayerCache | None = None) -> Tensor:
        qkv = self.qkv(x)
        if cache is None:
            return self.out(causal_attention(qkv, self.n_heads))
        q, k, v = split_heads(qkv, self.n_heads)  # each (B, H, T, head size)
        k, v = cache.extend(k, v)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=_visible(x.shape[1], k))
        return self.out(mixed.transpose(1, 2).flatten(2))


def _visible(length: int, keys: Tensor) -> Tensor | None:
    """Which of all (B, H, S, head size) `keys` the last `length` tokens see, (T, S); None for the last alone: all."""
    total = keys.shape[2]
    return (
        torch.ones(length, total, dtype=torch.bool, device=keys.device).tril(total - length) if length > 1 else None
    )


class SwiGLU(nn.Module):
    """`W_down(silu(W_gate x) * W_up x)` without biases (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.gate = nn.Linear(d_model, d_ff, bias=False)
        self.up = nn.Linear(d_model, d_ff, bias=False)
        self.down = nn.Linear(d_ff, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """One pre-norm layer: `x + attention(norm(x))`, then `x + glu(norm(x))` (Xiong et al. 2020)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(shape.d_model)
        self.attention = Attention(shape.d_model, shape.n_heads)
        self.glu_norm = nn.LayerNorm(shape.d_model)
        self.glu = SwiGLU(shape.d_model, shape.d_ff)

    def forward(self, x: Tensor, cache: LayerCache | None = None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cache)
        return x + self.glu(self.glu_norm(x))


class Transformer(nn.Module):
    """A language model of one `Shape`.

    Args:
        shape: sizes, as found by the allocation solver.
        seed: of the initial weights, which depend on nothing else.
    """

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape
        self.token_embedding = nn.Embedding(shape.vocab_size, shape.d_model)
        self.position_embedding = nn.Embedding(shape.context_length, shape.d_model)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_layers))
        self.final_norm = nn.LayerNorm(shape.d_model)
        self.head = nn.Linear(shape.d_model, shape.vocab_size, bias=False)
        if shape.tied:
            self.head.weight = self.token_embedding.weight
        self._initialise(seed)

    def _initialise(self, seed: int) -> None:
        """Normal weights of GPT-2's spread, carried over to other widths by 1/sqrt(fan-in) (Yang et al. 2022).

        So variants that differ in width start alike. As in GPT-2, matrices that write to the residual stream are
        scaled by 1/sqrt(2 L) besides.
        """
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.dim() >= 2:
                std = INIT_STD * math.sqrt(INIT_WIDTH / parameter.shape[1])
                if name.endswith(("attention.out.weight", "glu.down.weight")):
                    std /= math.sqrt(2 * self.shape.n_layers)
                nn.init.normal_(parameter, 0.0, std, generator)

    def new_cache(self) -> Cache:
        """An empty cache, for one batch of texts that grow together."""
        return [LayerCache(self.shape.context_length) for _ in self.blocks]

    def forward(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits (B, T, V) for token ids (B, T), which follow those that `cache` holds and join them.

        Errors: ValueError when the tokens, with those in the cache, exceed the context length.
        """
        return self.head(self.hidden(tokens, cache))

    def hidden(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """What the head is given, (B, T, d_model); arguments and errors as for the logits."""
        begin = cache[0].length if cache else 0
        end = begin + tokens.shape[1]
        if end > self.shape.context_length:
            raise ValueError(f"{end} tokens in a context of {self.shape.context_length}")
        positions = torch.arange(begin, end, device=tokens.device)
        x = self.token_embedding(tokens) + self.position_embedding(positions)  # (B, T, d_model)
        caches: Sequence[LayerCache | None] = cache or [None] * len(self.blocks)
        for block, layer_cache in zip(self.blocks, caches, strict=True):
            x = block(x, layer_cache)
        return self.final_norm(x)

    def nats(self, tokens: Tensor, targets: Tensor, reduction: str = "sum") -> Tensor:
        """Cross-entropy in nats, computed in fp32 in chunks; targets equal to `IGNORED_TARGET` do not count.

        Args:
            tokens, targets: ids, (B, T) each.
            reduction: `sum` for one scalar, `none` for a (B, T) tensor of nats per token.
        """
        hidden, flat = self.hidden(tokens).flatten(0, 1), targets.flatten()
        if reduction == "none":
            return nats_per_token(hidden, self.head.weight, flat).view_as(targets)
        return summed_nats(hidden, self.head.weight, flat)


def count_by_component(model: Transformer) -> dict[str, int]:
    """Parameters of the real module by the names of `Shape.params_by_component`, shared storage counted once."""
    counts = dict.fromkeys(model.shape.params_by_component(), 0)
    for name, parameter in model.named_parameters():  # leaves out the second name of a shared tensor
        counts[_component(name)] += parameter.numel()
    return counts


def _component(name: str) -> str:
    if "norm" in name:
        return "norms"
    first = name.split(".")[0]
    return name.split(".")[2] if first == "blocks" else first
