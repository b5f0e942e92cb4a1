"""Corpora from paths and from the Hub: which files are which split, what is cut, and what is refused."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from paramalloc.config import DataConfig
from paramalloc.data import hub
from paramalloc.data.corpus import Corpus, TextCorpus, open_corpus
from paramalloc.data.documents import read_documents
from paramalloc.data.pinned import PinnedDataset
from paramalloc.errors import UserError

SPLITS = ("train", "dev", "test")


def corpus(path: Path, **settings: object) -> Corpus:
    return open_corpus(DataConfig(corpus=str(path), **settings))


def texts(opened: Corpus) -> dict[str, list[str]]:
    return {split: list(opened.documents(split)) for split in SPLITS}


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def paragraphs(count: int, word: str = "paragraph") -> str:
    return "\n\n".join(f"{word} number {i} says {i * i}" for i in range(count))


@pytest.mark.parametrize("dev_name", ["valid__txt", "validation__txt", "dev__jsonl"])
def test_named_splits_are_taken_and_other_files_ignored(tmp_path: Path, dev_name: str) -> None:
    dev = '{"text": "dev one"}' if dev_name.endswith("jsonl") else "dev one"
    folder = write(tmp_path, train__txt="a\n\nb", test__txt="t", train_old__txt="old", **{dev_name: dev})
    opened = corpus(folder)
    assert texts(opened) == {"train": ["a", "b"], "dev": ["dev one"], "test": ["t"]}
    assert opened.name == str(folder)
    assert opened.size_bytes() == (2, True)


def test_a_missing_split_is_cut_from_train(tmp_path: Path) -> None:
    folder = write(tmp_path, train__txt=paragraphs(200), valid__txt="a dev text")
    found = texts(corpus(folder, held_out_fraction=0.1))
    assert found["dev"] == ["a dev text"]
    assert 10 <= len(found["test"]) <= 30
    assert sorted(found["train"] + found["test"]) == sorted(paragraphs(200).split("\n\n"))


def test_files_in_a_tree_are_the_text_in_sorted_order(tmp_path: Path) -> None:
    write(tmp_path / "b", two__txt=paragraphs(50, "second"))
    write(tmp_path, a__txt=paragraphs(50, "first"), z__jsonl='{"text": "third number one"}', note__md="ignored")
    train = texts(corpus(tmp_path))["train"]
    order = [document.split()[0] for document in train]
    assert order == sorted(order, key=["first", "second", "third"].index)
    assert "ignored" not in order


def test_the_cut_depends_on_the_text_not_on_its_place(tmp_path: Path) -> None:
    lines = paragraphs(300).split("\n\n")
    one = write(tmp_path / "one", text__txt="\n\n".join(lines))
    other = write(tmp_path / "other", text__txt="\n\n".join(reversed(lines)))
    first, second = texts(corpus(one)), texts(corpus(other))
    for split in SPLITS:
        assert set(first[split]) == set(second[split])
    share = sum(len(text) for text in first["dev"]) / sum(len(text) for text in lines)
    assert 0.05 <= share < 0.07


def test_equal_documents_fall_into_one_split(tmp_path: Path) -> None:
    lines = paragraphs(40).split("\n\n")
    found = texts(corpus(write(tmp_path, text__txt="\n\n".join(lines * 3)), held_out_fraction=0.3))
    assert sum(len(set(found[split])) for split in SPLITS) == 40
    assert sum(len(found[split]) for split in SPLITS) == 120


@pytest.mark.parametrize("count", [3, 4, 20])
@pytest.mark.parametrize("fraction", [0.01, 0.49])
def test_every_split_gets_a_document_from_three_on(tmp_path: Path, count: int, fraction: float) -> None:
    found = texts(corpus(write(tmp_path, text__txt=paragraphs(count)), held_out_fraction=fraction))
    assert all(found[split] for split in SPLITS)
    assert sum(map(len, found.values())) == count


def test_too_little_text_says_how_much_is_needed(tmp_path: Path) -> None:
    opened = corpus(write(tmp_path, text__txt="one\n\ntwo"))
    with pytest.raises(UserError, match=r"2 different documents.*at least 3"):
        list(opened.documents("train"))


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    opened = corpus(write(tmp_path, train__txt="a", valid__txt=" \n", test__txt="b"))
    with pytest.raises(UserError, match="dev split"):
        list(opened.documents("dev"))


def test_many_files_are_documents_few_are_not(tmp_path: Path) -> None:
    many = write(tmp_path / "many", **{f"f{i}__txt": f"a{i}\n\nb{i}" for i in range(20)})
    few = write(tmp_path / "few", **{f"f{i}__txt": f"a{i}\n\nb{i}" for i in range(19)})
    assert sum(map(len, texts(corpus(many)).values())) == 20
    assert sum(map(len, texts(corpus(few)).values())) == 38
    assert sum(map(len, texts(corpus(few, documents="file")).values())) == 19


def test_size_is_that_of_the_train_documents(tmp_path: Path) -> None:
    opened = corpus(write(tmp_path, text__txt=paragraphs(100, "größer")))
    train = list(opened.documents("train"))
    assert opened.size_bytes() == (sum(len(text.encode()) for text in train), True)
    assert len(train) < 100


def test_fingerprint_follows_content_and_settings(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", text__txt=paragraphs(30))
    same = write(tmp_path / "b", text__txt=paragraphs(30))
    before = corpus(folder).fingerprint()
    assert corpus(same).fingerprint() == before
    assert corpus(folder, documents="file").fingerprint() != before
    assert corpus(folder, held_out_fraction=0.2).fingerprint() != before
    stamp = (folder / "text.txt").stat()
    write(folder, text__txt=paragraphs(30).replace("number 7", "number 8"))
    os.utime(folder / "text.txt", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert (folder / "text.txt").stat().st_size == stamp.st_size
    assert corpus(folder).fingerprint() != before


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wikitext2", "did you mean 'wikitext-2'"),
        ("synthetik", "did you mean 'synthetic'"),
        ("/no/such", "allowed: syn"),
    ],
)
def test_an_unknown_corpus_names_the_known_ones(name: str, expected: str) -> None:
    with pytest.raises(UserError, match=expected) as error:
        open_corpus(DataConfig(corpus=name))
    assert error.value.place == "data.corpus"


def test_source_files_are_described(tmp_path: Path) -> None:
    write(tmp_path / "b", two__txt=paragraphs(5, "größer"))
    write(tmp_path, a__jsonl='{"text": "one"}\n{"text": "two"}')
    opened = corpus(tmp_path)
    assert isinstance(opened, TextCorpus)
    content = {file.name: (tmp_path / file.name).read_bytes() for file in opened.files}
    assert list(content) == ["a.jsonl", "b/two.txt"]
    for file in opened.files:
        expected = ("train", len(content[file.name]), hashlib.sha256(content[file.name]).hexdigest())
        assert (file.split, file.bytes, file.sha256) == expected
    assert (opened.grouping, opened.cut_from_train) == ("blank_line", ("dev", "test"))
    single = corpus(tmp_path / "b" / "two.txt")
    assert isinstance(single, TextCorpus)
    assert [file.name for file in single.files] == ["two.txt"]


def test_text_that_is_not_utf8_is_refused_when_opened(tmp_path: Path) -> None:
    for content in (b"caf\xe9\n\nb\n\nc", "x" * (1 << 20) + "é", "abc é"):
        data = content if isinstance(content, bytes) else content.encode()[:-1]
        (tmp_path / "text.txt").write_bytes(data)
        for documents in ("auto", "blank_line"):
            with pytest.raises(UserError, match=r"text\.txt.*not UTF-8"):
                corpus(tmp_path, documents=documents)


def test_folders_without_text_and_doubled_splits_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="without text"):
        corpus(tmp_path / "empty")
    folder = write(tmp_path / "double", train__txt="a", dev__txt="b", valid__txt="c")
    with pytest.raises(UserError, match=r"dev\.txt, valid\.txt"):
        corpus(folder)


def wiki_rows(word: str, articles: int) -> list[str]:
    """Rows as the Hub has them: a blank row is empty, every other ends in a line break."""
    rows: list[str] = []
    for i in range(articles):
        rows += ["", f" = {word} {i} = \n", "", f" Text of {word} {i} . \n", "", " = = Section = = \n", " More . \n"]
    return rows


def write_parquet(path: Path, rows: list[str], column: str = "text") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table({column: rows}), path)


def test_parquet_files_are_regrouped_into_articles(tmp_path: Path) -> None:
    rows = wiki_rows("Train", 6)
    write_parquet(tmp_path / "raw" / "train-00000-of-00002.parquet", rows[:24])  # the fourth article goes on
    write_parquet(tmp_path / "raw" / "train-00001-of-00002.parquet", rows[24:])
    write_parquet(tmp_path / "raw" / "validation-00000-of-00001.parquet", wiki_rows("Dev", 2))
    found = texts(corpus(tmp_path))
    whole = [f" = Train {i} = \n\n Text of Train {i} . \n\n = = Section = = \n More . " for i in range(6)]
    assert sorted(found["train"] + found["test"]) == whole
    assert [text.split("\n")[0] for text in found["dev"]] == [" = Dev 0 = ", " = Dev 1 = "]


def test_parquet_rows_without_titles_are_documents(tmp_path: Path) -> None:
    write_parquet(tmp_path / "part.parquet", ["one\n\nstill one", "", "two", "three"])
    found = [text for split in texts(corpus(tmp_path)).values() for text in split]
    assert sorted(found) == ["one\n\nstill one", "three", "two"]
    write_parquet(tmp_path / "part.parquet", ["x"], column="body")
    with pytest.raises(UserError, match="columns body"):
        corpus(tmp_path)


class Rows:
    """A split as `datasets` gives it: batches of columns, and the files in its cache that hold them."""

    def __init__(self, texts: list[str], file: Path) -> None:
        self._texts, self.cache_files = texts, [{"filename": str(file)}]

    def iter(self, batch_size: int) -> Iterator[dict[str, list[str]]]:
        for start in range(0, len(self._texts), batch_size):
            yield {"text": self._texts[start : start + batch_size]}


def test_wikitext_is_regrouped_and_loaded_only_when_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load(source: PinnedDataset, config: str, split: str) -> Rows:
        asked.append((source.repository, config, split))
        (tmp_path / f"{split}.arrow").write_bytes(split.encode())
        return Rows(wiki_rows(split, 2), tmp_path / f"{split}.arrow")

    asked: list[tuple[str, str, str]] = []
    monkeypatch.setattr(PinnedDataset, "load", load)
    opened = open_corpus(DataConfig(corpus="wikitext-2"))
    assert opened.size_bytes() == (11_061_717, False)
    opened.fingerprint()
    assert not asked
    whole = " = validation 1 = \n\n Text of validation 1 . \n\n = = Section = = \n More . "
    assert list(opened.documents("dev"))[1] == whole
    assert asked == [("Salesforce/wikitext", "wikitext-2-raw-v1", "validation")]
    found = [(file.split, file.name, file.bytes, file.sha256) for file in hub.wikitext_files("wikitext-2")]
    names = {"train": b"train", "dev": b"validation", "test": b"test"}
    assert found == [
        (split, f"{name.decode()}.arrow", len(name), hashlib.sha256(name).hexdigest())
        for split, name in names.items()
    ]


def test_without_a_network_the_hub_gives_advice_within_seconds(tmp_path: Path) -> None:
    code = (
        "from paramalloc.config import DataConfig\n"
        "from paramalloc.data.corpus import open_corpus\n"
        "next(open_corpus(DataConfig(corpus='wikitext-103')).documents('train'))"
    )
    nobody = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | nobody, capture_output=True, text=True, timeout=60
    )
    assert "UserError: data.corpus: got Salesforce/wikitext" in done.stderr
    assert "data.corpus=synthetic" in done.stderr
    assert time.monotonic() - begun < 10


def test_wikitext_2_has_its_published_number_of_articles(shared_data: Path) -> None:
    opened = corpus(shared_data / "wikitext-2")
    assert [len(list(opened.documents(split))) for split in SPLITS] == [600, 60, 60]
    for name in ("valid.raw.txt", "test.raw.txt"):
        assert len(list(read_documents(shared_data / "wikitext-2" / name, "article"))) == 60
