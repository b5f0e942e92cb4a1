"""The paramalloc transformer for Hugging Face transformers: pre-norm, causal attention, SwiGLU, learned positions.

Always holds: parameters have the names and the arithmetic that they were trained with, so the logits are those of
the training code. `AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).generate(...)`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_paramalloc import ParamallocConfig

IGNORED_LABEL = -100


class Attention(nn.Module):
    """Causal multi-head self-attention; earlier keys and values come from, and new ones go into, `past`."""

    def __init__(self, config: ParamallocConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.n_heads = layer, config.n_heads
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(self, x: Tensor, visible: Tensor, past: Cache | None) -> Tensor:
        batch, length, d_model = x.shape
        heads = self.qkv(x).view(batch, length, 3, self.n_heads, d_model // self.n_heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # each (B, H, T, head size)
        if past is not None:
            k, v = past.update(k, v, self.layer)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, d_model))


class SwiGLU(nn.Module):
    """`W_down(silu(W_gate x) * W_up x)` (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, config: ParamallocConfig) -> None:
        super().__init__()
        self.gate = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.up = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """One pre-norm layer."""

    def __init__(self, config: ParamallocConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.d_model)
        self.attention = Attention(config, layer)
        self.glu_norm = nn.LayerNorm(config.d_model)
        self.glu = SwiGLU(config)

    def forward(self, x: Tensor, visible: Tensor, past: Cache | None) -> Tensor:
        x = x + self.attention(self.attention_norm(x), visible, past)
        return x + self.glu(self.glu_norm(x))


class ParamallocForCausalLM(PreTrainedModel, GenerationMixin):
    """The language model. With `config.tie_word_embeddings` the head is the token table itself."""

    config_class = ParamallocConfig
    _no_split_modules = ["Block"]  # noqa: RUF012 (this and the next: as the base class declares them)
    _tied_weights_keys = {"head.weight": "token_embedding.weight"}  # noqa: RUF012
    _supports_cache_class = True
    _supports_sdpa = True

    def __init__(self, config: ParamallocConfig) -> None:
        super().__init__(config)
        self.token_embedding: nn.Module = nn.Embedding(config.vocab_size, config.d_model)
        self.position_embedding = nn.Embedding(config.context_length, config.d_model)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.final_norm = nn.LayerNorm(config.d_model)
        self.head: nn.Module = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.token_embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.token_embedding = value

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.head = new_embeddings

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits (B, T, V) of ids (B, T), which follow the S - T tokens in `past_key_values`.

        Args:
            attention_mask: (B, S), 0 where a text is padded (left or right); None: nothing is.
            labels: (B, T), the ids themselves, -100 where they do not count; they are shifted here.

        Errors: ValueError when S exceeds the context length.
        """
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache()
        begin = past_key_values.get_seq_length() if past_key_values is not None else 0
        end = begin + input_ids.shape[1]
        if end > self.config.context_length:
            raise ValueError(f"{end} tokens in a context of {self.config.context_length}")
        if attention_mask is None:
            attention_mask = torch.ones(len(input_ids), end, dtype=torch.long, device=input_ids.device)
        positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)[:, begin:]  # padding at the left counts for nothing
        x = self.token_embedding(input_ids) + self.position_embedding(positions)  # (B, T, d_model)
        visible = _visible(attention_mask, begin)
        for block in self.blocks:
            x = block(x, visible, past_key_values)
        logits = self.head(self.final_norm(x))
        return CausalLMOutputWithPast(
            loss=None if labels is None else _shifted_loss(logits, labels),
            logits=logits,
            past_key_values=past_key_values,
        )


def _visible(attention_mask: Tensor, begin: int) -> Tensor:
    """Which of S tokens those from `begin` on see, (B, 1, T, S): earlier ones that are no padding, and themselves.

    Padding sees itself, so that no row of the softmax is empty: its NaN would spread to the rest.
    """
    places = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    earlier = places < places[begin:, None]  # (T, S)
    itself = places == places[begin:, None]
    return (earlier & attention_mask[:, None, None].bool()) | itself


def _shifted_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats of each label under the logits one place before it."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORED_LABEL)
