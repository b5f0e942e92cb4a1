"""The manifest: complete, true to the files, and the same bytes for the same input."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paramalloc.config import SweepConfig
from paramalloc.data import hub
from paramalloc.data.corpus import open_corpus
from paramalloc.data.manifest import length_summary, make_manifest, write_manifest
from paramalloc.data.pinned import PinnedDataset
from paramalloc.data.prepare import prepare_all
from paramalloc.data.token_set import TokenSet
from paramalloc.results import ResultsFolder

SIZES = (300, 340)


def sweep(tmp_path: Path, **data: Any) -> SweepConfig:
    experiments = [{"name": "a"}, {"name": "b", "vocab_size": 340, "context_length": 50}]
    model = {"vocab_size": 300, "context_length": 64}
    settings = {"cache_dir": str(tmp_path / "cache"), **data}
    return SweepConfig.model_validate({"name": "s", "data": settings, "model": model, "experiments": experiments})


def prepared(config: SweepConfig) -> dict[int, TokenSet]:
    return prepare_all(config.data, SIZES)


def text_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "one.txt").write_text("\n\n".join(f"paragraph {i} of größe " + "word " * (i % 90) for i in range(300)))
    (folder / "two.txt").write_text("\n\n".join(f"another paragraph {i}" for i in range(100)))
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> SweepConfig:
    tmp_path = tmp_path_factory.mktemp("own")
    return sweep(tmp_path, corpus=str(text_folder(tmp_path)), licence="CC0", held_out_fraction=0.1)


@pytest.fixture(scope="module")
def manifest(own: SweepConfig) -> dict[str, Any]:
    return make_manifest(own, open_corpus(own.data), prepared(own))


def test_the_same_input_gives_the_same_bytes(own: SweepConfig, manifest: dict[str, Any], tmp_path: Path) -> None:
    again = own.model_copy(update={"data": own.data.model_copy(update={"cache_dir": str(tmp_path / "other")})})
    written = []
    for config, name in ((own, "one"), (own, "two"), (again, "three")):
        folder = ResultsFolder(tmp_path / name)
        assert (
            write_manifest(config, open_corpus(config.data), prepared(config), folder)["fingerprint"]
            == manifest["fingerprint"]
        )
        for size, tokens in prepared(config).items():
            assert folder.tokenizer(size).read_bytes() == tokens.tokenizer_file.read_bytes()
        written.append(folder.manifest.read_text().replace(config.data.cache_dir, "CACHE"))
    assert written[0] == written[1] == written[2]


def test_every_file_is_listed_with_its_hash(own: SweepConfig, manifest: dict[str, Any]) -> None:
    def described(path: Path) -> dict[str, Any]:
        return {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}

    text = Path(own.data.corpus)
    assert manifest["source"]["files"] == [
        {"split": "train", "name": name, **described(text / name)} for name in ("one.txt", "two.txt")
    ]
    for vocabulary in manifest["vocabularies"]:
        folder = Path(vocabulary["folder"])
        assert set(vocabulary["files"]) == {path.name for path in folder.iterdir()} - {"meta.json"}
        for name, entry in vocabulary["files"].items():
            assert entry == described(folder / name)
        assert vocabulary["tokenizer_hash"] == vocabulary["files"]["tokenizer.json"]["sha256"]


def test_sizes_are_those_of_the_tokens(own: SweepConfig, manifest: dict[str, Any]) -> None:
    for vocabulary, (size, tokens) in zip(manifest["vocabularies"], prepared(own).items(), strict=True):
        assert vocabulary["vocab_size"] == size
        train = vocabulary["splits"]["train"]
        assert train["tokens"] + train["end_of_text_tokens"] == len(tokens.train)
        assert train["end_of_text_tokens"] == np.count_nonzero(tokens.train == tokens.end_of_text)
        for split, held_out in (("dev", tokens.dev), ("test", tokens.test)):
            numbers, lengths = vocabulary["splits"][split], np.diff(held_out.starts)
            assert manifest["splits"][split]["documents"] == len(lengths)
            assert manifest["splits"][split]["bytes"] == held_out.bytes_per_document.sum()
            assert (numbers["tokens"], numbers["end_of_text_tokens"]) == (len(held_out.tokens), 0)
            assert numbers["bytes_per_token"] == pytest.approx(1 / numbers["tokens_per_byte"])
            assert numbers["documents_longer_than"] == {str(n): int((lengths > n).sum()) for n in (50, 64)}


def test_settings_and_licence_of_a_text_of_ones_own(manifest: dict[str, Any]) -> None:
    settings = manifest["settings"]
    assert (settings["documents"], settings["cut_from_train"]) == ("blank_line", ["dev", "test"])
    assert (settings["held_out_fraction"], settings["on_overlap"]) == (0.1, "drop_train")
    assert settings["held_out_max_bytes"] > 0
    assert (settings["seed"], settings["synthetic_bytes"]) == (None, None)
    assert manifest["source"]["licence"] == "CC0"
    assert manifest["contamination"] is None


def test_the_built_in_corpus(tmp_path: Path) -> None:
    config = sweep(tmp_path, corpus="synthetic", synthetic_bytes=60_000, seed=3)
    found = make_manifest(config, open_corpus(config.data), prepared(config), contamination={"items": 7})
    assert found["source"]["licence"] == "MIT"
    assert found["source"]["generator_version"] is not None
    assert found["source"]["files"] == []
    assert (found["settings"]["seed"], found["settings"]["synthetic_bytes"]) == (3, 60_000)
    assert found["contamination"] == {"items": 7}


def test_wikitext_names_its_revision_and_the_cached_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Rows:
        def __init__(self, split: str) -> None:
            self.texts = ["", f" = {split} = \n", "", *(f" {split} text number {i} \n" for i in range(200))]
            self.cache_files = [{"filename": str(tmp_path / f"{split}.arrow")}]
            (tmp_path / f"{split}.arrow").write_text(split)

        def iter(self, batch_size: int) -> list[dict[str, list[str]]]:
            return [{"text": self.texts}]

    monkeypatch.setattr(PinnedDataset, "load", lambda self, config, split: Rows(split))
    config = sweep(tmp_path, corpus="wikitext-2")
    token_sets = prepare_all(config.data, [270])
    monkeypatch.delattr(PinnedDataset, "load")  # what was prepared is described without the hub
    found = make_manifest(config, open_corpus(config.data), token_sets)
    assert found["source"]["repository"] == "Salesforce/wikitext"
    assert (found["source"]["config"], found["source"]["revision"]) == ("wikitext-2-raw-v1", hub.WIKITEXT.revision)
    assert found["source"]["licence"] == "CC BY-SA 3.0 and GFDL"
    assert [file["name"] for file in found["source"]["files"]] == ["train.arrow", "validation.arrow", "test.arrow"]
    assert found["settings"]["documents"] == "article"
    assert found["settings"]["cut_from_train"] == []
    assert found["settings"]["held_out_fraction"] is None


@given(lengths=st.dictionaries(st.integers(1, 10**6), st.integers(1, 1000), min_size=1), context=st.integers(1, 4096))
def test_lengths_are_summarised_exactly(lengths: dict[int, int], context: int) -> None:
    found = length_summary(dict(sorted(lengths.items())), [context])
    every = np.repeat(list(lengths), list(lengths.values()))
    assert found["documents_longer_than"] == {str(context): int((every > context).sum())}
    numbers = found["document_tokens"]
    assert (numbers["min"], numbers["max"]) == (every.min(), every.max())
    assert numbers["median"] == np.quantile(every, 0.5, method="inverted_cdf")
    edges = [int(edge) for edge in found["histogram"]]
    counts = list(found["histogram"].values())
    assert counts[0] == 0
    assert counts[1:] == [int(((every > low) & (every <= high)).sum()) for low, high in pairwise(edges)]
    assert sum(counts) == len(every)
