"""Byte-level BPE: training, loading, hashing and encoding. Lossless: any text decodes to exactly itself.

Always holds: the same text and vocabulary size give the same tokenizer and hash; id 0 is `<|endoftext|>` and stands
only between documents: the same characters inside a document are encoded as ordinary text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from paramalloc.errors import UserError

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0
_MIN_PAIR_COUNT = 2  # a merge seen once would only learn one document's spelling by heart
_BATCH_CHARACTERS, _BATCH_DOCUMENTS = 4 << 20, 2048


def train_tokenizer(documents: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train on `documents` (streamed once). `vocab_size` counts all 256 bytes, the merges and the special token.

    Errors: UserError when the text has too few repeated character pairs for that many entries.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=_MIN_PAIR_COUNT,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    supported = tokenizer.get_vocab_size()
    if supported < vocab_size:
        raise UserError(
            "model.vocab_size",
            f"{vocab_size:,} with a corpus that supports no more than {supported:,}",
            f"take at most {supported:,}, or give more text",
        )
    tokenizer.encode_special_tokens = True
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer.json written here; what looks like a special token in a text is again encoded as text."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True  # not part of the file
    return tokenizer


def tokenizer_json(tokenizer: Tokenizer) -> str:
    """The canonical JSON of a tokenizer: sorted keys, no insignificant space."""
    return json.dumps(json.loads(tokenizer.to_str()), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(tokenizer_json(tokenizer).encode()).hexdigest()


def token_dtype(vocab_size: int) -> type[np.uint16] | type[np.uint32]:
    return np.uint16 if vocab_size <= 1 << 16 else np.uint32


def encode(tokenizer: Tokenizer, documents: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Each document with its tokens (n,), without end-of-text; streamed in batches that use all cores."""
    dtype = token_dtype(tokenizer.get_vocab_size())
    for batch in _batches(documents):
        for document, encoding in zip(batch, tokenizer.encode_batch_fast(batch), strict=True):
            yield document, np.array(encoding.ids, dtype=dtype)


def _batches(documents: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document)
        if characters >= _BATCH_CHARACTERS or len(batch) >= _BATCH_DOCUMENTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
