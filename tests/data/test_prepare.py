"""Preparing a corpus: what the token set holds, what the cache guarantees, and what overlap does."""

from __future__ import annotations

import hashlib
import itertools
import os
import pickle
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from paramalloc.config import DataConfig
from paramalloc.data import prepare as module
from paramalloc.data.corpus import open_corpus
from paramalloc.data.overlap import find_overlap
from paramalloc.data.prepare import cached, prepare, prepare_all
from paramalloc.data.synthetic import SyntheticCorpus
from paramalloc.data.token_set import HeldOut, TokenSet, read_lengths, read_meta
from paramalloc.data.tokenizer import load_tokenizer
from paramalloc.errors import UserError

SIZE = 400
LEAK = "This line stands in the training text and in the held-out text, word for word."


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    folder = tmp_path_factory.mktemp("cache")
    return DataConfig(corpus="synthetic", synthetic_bytes=100_000, cache_dir=str(folder))


@pytest.fixture(scope="module")
def token_set(config: DataConfig) -> TokenSet:
    return prepare(config, SIZE)


def fresh(config: DataConfig, folder: Path) -> DataConfig:
    return config.model_copy(update={"cache_dir": str(folder)})


def decoded(tokens: TokenSet, ids: np.ndarray) -> str:
    return load_tokenizer(tokens.tokenizer_file).decode(list(ids), skip_special_tokens=False)


def test_train_is_every_document_and_an_end_of_text_after_each(token_set: TokenSet) -> None:
    documents = list(SyntheticCorpus(100_000, 0).documents("train"))
    assert decoded(token_set, token_set.train) == "".join(text + "<|endoftext|>" for text in documents)
    assert token_set.train_bytes == sum(len(text.encode()) for text in documents)
    assert token_set.train.dtype == np.uint16
    assert not token_set.train.flags.writeable


@pytest.mark.parametrize("split", ["dev", "test"])
def test_held_out_documents_can_be_told_apart_and_measured(token_set: TokenSet, split: str) -> None:
    documents = list(SyntheticCorpus(100_000, 0).documents(split))
    held_out: HeldOut = getattr(token_set, split)
    assert [decoded(token_set, part) for part in np.split(held_out.tokens, held_out.starts[1:-1])] == documents
    assert (held_out.starts[0], held_out.starts[-1]) == (0, len(held_out.tokens))
    assert held_out.starts.dtype == held_out.bytes_per_document.dtype == held_out.words_per_document.dtype == np.int64
    assert held_out.bytes_per_document.tolist() == [len(text.encode()) for text in documents]
    assert held_out.words_per_document.tolist() == [len(text.split()) for text in documents]
    assert token_set.end_of_text not in held_out.tokens


def test_tokens_travel_without_a_copy(token_set: TokenSet) -> None:
    buffers: list[pickle.PickleBuffer] = []
    inline = pickle.dumps(token_set, protocol=5, buffer_callback=buffers.append)
    assert len(inline) < 5_000
    assert token_set.train.nbytes in [buffer.raw().nbytes for buffer in buffers]
    back = pickle.loads(inline, buffers=buffers)
    np.testing.assert_array_equal(back.train, token_set.train)


def test_the_second_time_nothing_is_done(config: DataConfig, token_set: TokenSet) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(config.cache_dir).rglob("*")}
    lines: list[str] = []
    again = prepare(config, SIZE, lines.append)
    assert len(lines) == 1
    assert {path: path.stat().st_mtime_ns for path in Path(config.cache_dir).rglob("*")} == before
    for found in (again, cached(config, SIZE)):
        assert found is not None
        assert found.tokenizer_hash == token_set.tokenizer_hash
        np.testing.assert_array_equal(found.train, token_set.train)


def test_other_settings_are_not_found(config: DataConfig, token_set: TokenSet) -> None:
    assert cached(config, SIZE + 1) is None
    for other in ({"seed": 1}, {"synthetic_bytes": 99_000}, {"on_overlap": "error"}, {"held_out_fraction": 0.1}):
        assert cached(config.model_copy(update=other), SIZE) is None


def test_what_is_done_is_said_one_line_a_phase(config: DataConfig, tmp_path: Path) -> None:
    lines: list[str] = []
    prepare(fresh(config, tmp_path), SIZE, lines.append)
    beginnings = ["looking for", "training the", "tokenizing train: 0.1 MB", "tokenizing dev", "tokenizing test"]
    assert all(line.startswith(start) for line, start in zip(lines, beginnings, strict=True))


@pytest.mark.parametrize("name", ["meta.json", "train.bin", "dev.npz", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_folder_is_built_again(
    config: DataConfig, token_set: TokenSet, tmp_path: Path, name: str, damage: str
) -> None:
    mine = fresh(config, tmp_path)
    folder = prepare(mine, SIZE).tokenizer_file.parent
    content = (folder / name).read_bytes()
    if damage == "cut":
        (folder / name).write_bytes(content[: len(content) // 2])
    else:
        (folder / name).unlink()
    assert cached(mine, SIZE) is None
    np.testing.assert_array_equal(prepare(mine, SIZE).train, token_set.train)
    assert cached(mine, SIZE) is not None
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_build_that_fails_leaves_nothing(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = fresh(config, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_meta", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            prepare(mine, SIZE)
    assert list(tmp_path.iterdir()) == []
    assert prepare(mine, SIZE).vocab_size == SIZE


def test_two_at_once_end_with_one_whole_folder(config: DataConfig, token_set: TokenSet, tmp_path: Path) -> None:
    mine = fresh(config, tmp_path)
    barrier = threading.Barrier(2)
    results: list[TokenSet] = []

    def wait(line: str) -> None:
        if line.startswith("looking"):
            barrier.wait(timeout=30)  # both are building now

    threads = [threading.Thread(target=lambda: results.append(prepare(mine, SIZE, wait))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    for result in results:
        np.testing.assert_array_equal(result.train, token_set.train)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_home_folder_is_meant_by_a_tilde(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    built = prepare(config.model_copy(update={"cache_dir": "~/tokens"}), SIZE)
    assert built.tokenizer_file.parent.parent == tmp_path / "tokens"


def test_a_cache_that_cannot_be_written_is_the_users_to_mend(config: DataConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as error:
        prepare(fresh(config, tmp_path / "file"), SIZE)
    assert error.value.place == "data.cache_dir"


def leaky(tmp_path: Path, on_overlap: str) -> DataConfig:
    body = [f"paragraph number {i} of the text tells nothing new" for i in range(400)]
    text = tmp_path / "text"
    text.mkdir()
    (text / "train.txt").write_text("\n\n".join([*body[:200], f"before\n{LEAK}", *body[200:]]))
    (text / "valid.txt").write_text(f"a dev text\n\n{LEAK}")
    (text / "test.txt").write_text("a test text")
    return DataConfig(corpus=str(text), cache_dir=str(tmp_path / "cache"), on_overlap=on_overlap)


def test_held_out_text_in_train_is_refused_with_an_example(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1 of 401 .*This line stands in the training.*drop_train") as error:
        prepare(leaky(tmp_path, "error"), 300)
    assert error.value.place == "data.on_overlap"


def test_drop_train_leaves_the_document_out_and_says_so(tmp_path: Path) -> None:
    lines: list[str] = []
    tokens = prepare(leaky(tmp_path, "drop_train"), 300, lines.append)
    text = decoded(tokens, tokens.train)
    assert LEAK not in text
    assert "before" not in text
    assert text.count("<|endoftext|>") == 400
    assert "1 left out" in lines[0]
    meta = read_meta(tokens)
    assert (meta["overlap"]["train_documents"], meta["overlap"]["dropped_documents"]) == (401, 1)
    assert meta["splits"]["train"]["documents"] == 400


def test_the_tokenizer_has_seen_no_held_out_text(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    train = "\n\n".join(f"common words again and again {i}" for i in range(300))
    (text / "train.txt").write_text(train)
    hashes = set()
    for word in ("zyxwvu", "qponml"):
        (text / "dev.txt").write_text("\n\n".join(f"{word} {i}" for i in range(300)))
        (text / "test.txt").write_text(" ".join([word] * 300))
        hashes.add(prepare(DataConfig(corpus=str(text), cache_dir=str(tmp_path / "cache")), 290).tokenizer_hash)
    assert len(hashes) == 1


def test_a_vocabulary_above_65536_takes_four_bytes_a_token(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    words = ["".join(letters) for letters in itertools.product("bcdfghjklmnpqrst", repeat=4)]
    lines = [" ".join(words[i : i + 64]) for i in range(0, len(words), 64)]
    (text / "train.txt").write_text("\n\n".join(lines * 2))
    (text / "dev.txt").write_text("dev")
    (text / "test.txt").write_text("test")
    config = DataConfig(corpus=str(text), cache_dir=str(tmp_path / "cache"))
    tokens = prepare(config, 65_600)
    assert tokens.train.dtype == tokens.dev.tokens.dtype == np.uint32
    assert tokens.train.max() >= 1 << 16
    assert decoded(tokens, tokens.train[:200]).startswith(lines[0][:300])


def test_wikitext_2_has_no_held_out_text_in_train(shared_data: Path) -> None:
    corpus = open_corpus(DataConfig(corpus=str(shared_data / "wikitext-2")))
    held_out = itertools.chain(corpus.documents("dev"), corpus.documents("test"))
    found = find_overlap(corpus.documents("train"), held_out)
    assert (found.documents, found.shared_texts, found.boilerplate_lines) == (frozenset(), 0, 0)


def test_several_vocabularies_look_for_overlap_once(config: DataConfig, token_set: TokenSet, tmp_path: Path) -> None:
    mine = fresh(config, tmp_path)
    lines: list[str] = []
    found = prepare_all(mine, [SIZE, 500], lines.append)
    assert list(found) == [SIZE, 500]
    assert [tokens.vocab_size for tokens in found.values()] == [SIZE, 500]
    assert sum(line.startswith("looking for") for line in lines) == 1
    assert found[SIZE].tokenizer_hash == token_set.tokenizer_hash
    assert len(found[500].train) < len(found[SIZE].train)


def test_verifying_finds_what_a_look_at_sizes_does_not(config: DataConfig, tmp_path: Path) -> None:
    mine = fresh(config, tmp_path)
    tokens = prepare(mine, SIZE)
    before = np.array(tokens.train)
    with (tokens.tokenizer_file.parent / "train.bin").open("r+b") as stream:
        stream.seek(100)
        stream.write(b"\xff\xff")
    assert cached(mine, SIZE) is not None
    lines: list[str] = []
    again = prepare_all(mine, [SIZE], lines.append, verify=True)[SIZE]
    assert "built again: train.bin changed" in lines[0]
    np.testing.assert_array_equal(again.train, before)
    prepare_all(mine, [SIZE], lines.append, verify=True)
    assert lines[-1].endswith("every file of it as it was written")


@pytest.mark.parametrize("damage", [bytes, lambda size: b"PK\x03\x04" + bytes(size - 4), None])
def test_an_archive_that_cannot_be_read_is_built_again(
    config: DataConfig, tmp_path: Path, damage: Callable[[int], bytes] | None
) -> None:
    mine = fresh(config, tmp_path)
    path = prepare(mine, SIZE).tokenizer_file.parent / "dev.npz"
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes(damage(len(content)) if damage else flipped)
    assert cached(mine, SIZE) is None
    assert prepare(mine, SIZE).vocab_size == SIZE


def test_a_tokenizer_of_much_text_is_trained_on_a_spread_sample(
    config: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_meta(prepare(config, SIZE))["tokenizer_text_bytes"] == prepare(config, SIZE).train_bytes
    monkeypatch.setattr(module, "TOKENIZER_TEXT_BYTES", 30_000)
    sampled = read_meta(prepare(fresh(config, tmp_path), SIZE))["tokenizer_text_bytes"]
    assert 25_000 < sampled < 35_000
    taken = list(module._spread(map(str, range(1000)), 0.25))
    assert taken[0] == "0"
    assert 245 <= len(taken) <= 255
    for period in (2, 4, 10):  # whatever repeats in the corpus, all of it is seen
        assert {int(text) % period for text in taken} == set(range(period))


def test_what_is_written_is_counted(config: DataConfig, token_set: TokenSet) -> None:
    meta, lengths = read_meta(token_set), read_lengths(token_set)
    corpus = open_corpus(config)
    for split in ("train", "dev", "test"):
        documents = [document.encode() for document in corpus.documents(split)]
        noted = meta["splits"][split]
        assert (noted["documents"], noted["bytes"]) == (len(documents), sum(map(len, documents)))
        assert noted["sha256"] == hashlib.sha256(b"".join(text + b"\xff" for text in documents)).hexdigest()
        assert sum(lengths[split].values()) == len(documents)
        assert sum(length * count for length, count in lengths[split].items()) == noted["tokens"]
        assert list(lengths[split]) == sorted(lengths[split])
    assert len(token_set.train) == meta["splits"]["train"]["tokens"] + meta["splits"]["train"]["documents"]
    assert lengths["dev"] == Counter(np.diff(token_set.dev.starts).tolist())


def test_cache_folders_are_readable_by_others(token_set: TokenSet) -> None:
    assert os.stat(token_set.tokenizer_file.parent).st_mode & 0o777 == 0o755
