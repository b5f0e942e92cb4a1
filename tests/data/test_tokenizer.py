"""The tokenizer: lossless, the same every time, and no way to smuggle an end-of-text into a document."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from paramalloc.data import tokenizer as module
from paramalloc.data.synthetic import SyntheticCorpus
from paramalloc.data.tokenizer import (
    END_OF_TEXT,
    END_OF_TEXT_ID,
    encode,
    load_tokenizer,
    parts,
    tokenizer_hash,
    tokenizer_json,
    train_tokenizer,
)
from paramalloc.errors import UserError

SIZE = 600
# Letters of ASCII and others, a mark, digits, apostrophes and white space decide where words begin and end.
ALPHABET = "ab é\u0301漢२Ⅷ5'\u2019s.-_ \n\t\r\x0b\x1c\x1f\x85\xa0\u180e\u200b\u2028\u3000<|endoftext|>"
WORDS = st.sampled_from([*ALPHABET, " the", "don't", "  ", " 'tis"])
TEXTS = st.one_of(st.text(), st.text(ALPHABET), st.lists(WORDS).map("".join))
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


def by_the_library(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text).ids


def encoded(tokenizer: Tokenizer, text: str) -> list[int]:
    ((_, ids),) = encode(tokenizer, [text])
    return ids.tolist()


def words(tokenizer: Tokenizer, text: str) -> list[str]:
    """What the library's pre-tokenizer makes of a text: no token ever spans two of them."""
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


def words_of(tokenizer: Tokenizer, pieces: list[str]) -> list[str]:
    return [word for piece in pieces for word in words(tokenizer, piece)]


@settings(max_examples=1000, deadline=None)
@given(text=TEXTS)
def test_pieces_end_where_the_librarys_words_end(tokenizer: Tokenizer, text: str) -> None:
    pieces = module._PIECE.findall(text)
    assert "".join(pieces) == text
    assert words_of(tokenizer, pieces) == words(tokenizer, text)


def test_white_space_is_what_the_library_takes_for_it(tokenizer: Tokenizer) -> None:
    special = {"Cc", "Cf", "Zs", "Zl", "Zp"}
    for character in map(chr, range(sys.maxunicode + 1)):
        if character.isspace() or unicodedata.category(character) in special:
            text = f"a{character}b {character} {character}{character}c \n{character}"
            assert words_of(tokenizer, module._PIECE.findall(text)) == words(tokenizer, text), repr(character)


@settings(deadline=None)
@given(text=TEXTS)
def test_remembered_pieces_give_what_the_library_gives(tokenizer: Tokenizer, text: str) -> None:
    assert encoded(tokenizer, text) == by_the_library(tokenizer, text)


def test_a_novel_has_the_tokens_that_the_library_gives(tokenizer: Tokenizer, shared_data: Path) -> None:
    text = (shared_data / "novels" / "Cbronte_Jane_1847.txt").read_text(encoding="utf-8")
    assert encoded(tokenizer, text) == by_the_library(tokenizer, text)


@settings(max_examples=300, deadline=None)
@given(text=TEXTS, length=st.integers(1, 8))
def test_parts_have_the_words_of_the_whole(tokenizer: Tokenizer, text: str, length: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PART_CHARACTERS", length)
        pieces = list(parts(text))
    assert "".join(pieces) == text
    assert words_of(tokenizer, pieces) == words(tokenizer, text)


def test_what_is_remembered_is_bounded(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED_PIECES", 5)
    pieces = module._Pieces(tokenizer)
    for text in (" ".join(f"word{i}" for i in range(50)), "x" * 1000):
        assert pieces.tokens_of(text).tolist() == by_the_library(tokenizer, text)
    assert 0 < len(pieces) <= 5
    assert max(map(len, pieces)) <= module._REMEMBERED_CHARACTERS


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
