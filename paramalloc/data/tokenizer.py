"""Byte-level BPE: training, loading, hashing and encoding. Lossless: any text decodes to exactly itself.

Always holds: the same text and vocabulary size give the same tokenizer and hash; id 0 is `<|endoftext|>` and stands
only between documents: the same characters inside a document are encoded as ordinary text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from paramalloc.errors import UserError

END_OF_TEXT = "<|endoftext|>"
END_OF_TEXT_ID = 0
_MIN_PAIR_COUNT = 2  # a merge seen once would only learn one document's spelling by heart

# A text falls apart into these pieces, and no token spans two of them: the pre-tokenizer (GPT-2's pattern) takes a
# run of letters with the space before it as one word, and otherwise cuts at least where white space meets other
# characters; of several white spaces all but the last go together. A run of ASCII letters is known to be whole by the
# ASCII character after it, so that no table of Unicode's letters is needed.
_SPACE = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # White_Space of Unicode 6.3 and later
_PIECE = re.compile(rf" ?[A-Za-z]++(?![^\x00-\x7f])| ?[^{_SPACE}]+|[{_SPACE}]+(?![^{_SPACE}])|[{_SPACE}]+")
_WORD_END = re.compile(rf"(?<=[^{_SPACE}])[{_SPACE}]")

_PART_CHARACTERS = 1 << 16
_REMEMBERED_PIECES, _REMEMBERED_CHARACTERS = 1 << 18, 32  # at most about 60 MB


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train on `texts` (streamed once). `vocab_size` counts all 256 bytes, the merges and the special token.

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
    tokenizer.train_from_iterator(texts, trainer)
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
    """Read a tokenizer.json written here."""
    return parse_tokenizer(path.read_text(encoding="utf-8"))


def parse_tokenizer(content: str) -> Tokenizer:
    """The tokenizer of a tokenizer.json; what looks like a special token in a text is again encoded as text."""
    tokenizer = Tokenizer.from_str(content)
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
    """Each document with its tokens (n,), without end-of-text; streamed."""
    pieces = _Pieces(tokenizer)
    for document in documents:
        yield document, pieces.tokens_of(document)


def parts(document: str) -> Iterator[str]:
    """A document in parts of about 65,000 characters, cut only where no word is; joined again they are the document.

    Each part on its own has the tokens that it has in the document.
    """
    start = 0
    while end := _WORD_END.search(document, start + _PART_CHARACTERS):
        yield document[start : end.start()]
        start = end.start()
    yield document[start:]


class _Pieces(dict[str, bytes]):
    """The token ids of pieces of text, as bytes; each is encoded once and then remembered.

    The library spends most of its time on overhead for each word, whatever its batch and cache sizes. Text repeats
    itself so much that looking words up is several times as fast; scripts without spaces neither gain nor lose much.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._dtype = token_dtype(tokenizer.get_vocab_size())

    def __missing__(self, piece: str) -> bytes:
        ids = np.array(self._tokenizer.encode(piece).ids, dtype=self._dtype).tobytes()
        if len(piece) <= _REMEMBERED_CHARACTERS:
            if len(self) >= _REMEMBERED_PIECES:
                self.clear()  # the frequent ones are soon back
            self[piece] = ids
        return ids

    def tokens_of(self, document: str) -> np.ndarray:
        """Token ids (n,), exactly those that the tokenizer gives for the whole document."""
        ids = b"".join(b"".join(map(self.__getitem__, _PIECE.findall(part))) for part in parts(document))
        return np.frombuffer(ids, dtype=self._dtype)
