"""The sizes of a paramalloc model, as Hugging Face transformers wants them; `config.json` holds their values."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig


class ParamallocConfig(PretrainedConfig):
    """What fixes a model's shape; every matrix is without bias, every LayerNorm has scale and bias.

    Args:
        d_model: width of the residual stream.
        n_layers, n_heads: blocks, and attention heads in each.
        d_ff: width of the SwiGLU.
        vocab_size: entries of the tokenizer, end-of-text included.
        context_length: tokens at most; positions are learned, so there is no going beyond.
    """

    model_type = "paramalloc"
    attribute_map = {  # noqa: RUF012 (the base class declares it so)
        "hidden_size": "d_model",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "d_ff",
        "max_position_embeddings": "context_length",
    }

    def __init__(
        self,
        d_model: int = 220,
        n_layers: int = 11,
        n_heads: int = 10,
        d_ff: int = 584,
        vocab_size: int = 16_000,
        context_length: int = 512,
        **kwargs: Any,
    ) -> None:
        self.d_model, self.n_layers, self.n_heads, self.d_ff = d_model, n_layers, n_heads, d_ff
        self.vocab_size, self.context_length = vocab_size, context_length
        super().__init__(**kwargs)
