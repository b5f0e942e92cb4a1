"""The tokenizer: lossless, the same every time, and no way to smuggle an end-of-text into a document."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from paramalloc.data.synthetic import SyntheticCorpus
from paramalloc.data.tokenizer import (
    END_OF_TEXT,
    END_OF_TEXT_ID,
    encode,
    load_tokenizer,
    tokenizer_hash,
    tokenizer_json,
    train_tokenizer,
)
from paramalloc.errors import UserError

SIZE = 600
ODD_TEXTS = [
    "naïve café — 漢字 🙂🙂\r\n\ttabs  and   spaces \n\n\n",
    "\x00\x01 control \u200b zero width \ufeff",
    f"a {END_OF_TEXT} b{END_OF_TEXT}{END_OF_TEXT}",
    " ",
]
TRAIN_AND_PRINT_HASH = f"""
from paramalloc.data.synthetic import SyntheticCorpus
from paramalloc.data.tokenizer import tokenizer_hash, train_tokenizer
print(tokenizer_hash(train_tokenizer(SyntheticCorpus(100_000, 0).documents("train"), {SIZE})))
"""


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(SyntheticCorpus(100_000, 0).documents("train"), SIZE)


def test_any_text_survives(tokenizer: Tokenizer) -> None:
    for text, ids in encode(tokenizer, ODD_TEXTS):
        assert tokenizer.decode(list(ids), skip_special_tokens=False) == text
        assert END_OF_TEXT_ID not in ids


def test_the_special_token_has_id_0_and_counts(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_to_id(END_OF_TEXT) == END_OF_TEXT_ID == 0
    assert tokenizer.get_vocab_size() == SIZE == len(tokenizer.get_vocab())


def test_the_same_text_gives_the_same_hash_in_another_process(tokenizer: Tokenizer) -> None:
    done = subprocess.run([sys.executable, "-c", TRAIN_AND_PRINT_HASH], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == tokenizer_hash(tokenizer)
    other = train_tokenizer(SyntheticCorpus(100_000, 1).documents("train"), SIZE)
    assert tokenizer_hash(other) != tokenizer_hash(tokenizer)


def test_a_loaded_tokenizer_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer_json(tokenizer), encoding="utf-8")
    loaded = load_tokenizer(path)
    assert tokenizer_hash(loaded) == tokenizer_hash(tokenizer)
    for (_, one), (_, other) in zip(encode(loaded, ODD_TEXTS), encode(tokenizer, ODD_TEXTS), strict=True):
        np.testing.assert_array_equal(one, other)


def test_merges_shorten_the_text(tokenizer: Tokenizer) -> None:
    ((text, ids),) = encode(tokenizer, [next(SyntheticCorpus(10_000, 5).documents("dev"))])
    assert len(ids) < 0.6 * len(text)
    assert ids.max() < SIZE


def test_token_types_follow_the_vocabulary(tokenizer: Tokenizer) -> None:
    assert next(encode(tokenizer, ["a"]))[1].dtype == np.uint16


def test_a_vocabulary_too_large_says_what_is_supported() -> None:
    texts = ["the cat sat on the mat"] * 4
    with pytest.raises(UserError) as error:
        train_tokenizer(texts, 5000)
    supported = int(error.value.allowed.split()[3].rstrip(",").replace(",", ""))
    assert error.value.place == "model.vocab_size"
    assert train_tokenizer(texts, supported).get_vocab_size() == supported
    with pytest.raises(UserError):
        train_tokenizer(texts, supported + 1)


def test_batches_of_documents_keep_their_order(tokenizer: Tokenizer) -> None:
    texts = [f"document {i}" for i in range(5000)]
    assert [text for text, _ in encode(tokenizer, iter(texts))] == texts
