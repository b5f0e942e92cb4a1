"""The synthetic corpus: exact entropy, one text for one path, a world that stays the same, independent splits."""

from __future__ import annotations

import hashlib
import re
from itertools import combinations

import numpy as np
import pytest

from paramalloc.data import lexicon
from paramalloc.data.grammar import Block
from paramalloc.data.synthetic import SyntheticCorpus, grammar
from paramalloc.data.world import world


@pytest.fixture(scope="module")
def documents() -> list[str]:
    return list(SyntheticCorpus(1_500_000, seed=3).documents("train"))


def test_entropy_agrees_with_what_documents_cost(documents: list[str]) -> None:
    corpus = SyntheticCorpus(10_000, seed=0)
    bits = np.array([corpus.source_bits(document) for document in documents])
    sizes = np.array([len(document.encode()) for document in documents])
    surplus = bits - corpus.entropy_bits_per_byte * sizes  # mean 0 if and only if the rate is right
    assert abs(surplus.mean()) < 4 * surplus.std() / len(documents) ** 0.5
    assert surplus.std() / len(documents) ** 0.5 < 0.005 * bits.mean()  # else the line above would prove little
    assert 0.4 < corpus.entropy_bits_per_byte < 1.3


def test_no_two_sentences_can_be_taken_for_each_other() -> None:
    """At some word before either ends, the two can never show the same: so a document has one parse only."""
    groups = [[genre.opening for genre in grammar().genres]]
    groups += [genre.middles + genre.closings for genre in grammar().genres]
    for blocks in groups:
        for one, other in combinations(blocks, 2):
            words = zip(_possible_words(one), _possible_words(other), strict=False)
            assert any(a.isdisjoint(b) for a, b in words), f"{one.text} / {other.text}"


def _possible_words(block: Block) -> list[set[str]]:
    slots = iter(block.slots)
    words: list[set[str]] = []
    for token in re.sub(r"\{[^}]*\}", "{}", block.text).split(" "):
        if token == "{}":
            strings = next(slots).strings
            words += [set(column) for column in zip(*(text.split(" ") for text in strings), strict=True)]
        else:
            assert "{" not in token, "a slot must stand between spaces"
            words.append({token})
    return words


def test_a_changed_document_is_refused_or_costs_something_else(documents: list[str]) -> None:
    corpus = SyntheticCorpus(10_000, seed=0)
    document = documents[0]
    words = document.split(" ")
    for broken in (
        " ".join(words[:-1]),
        document + " the end .",
        document.replace(" .", "."),
        " ".join([words[1], words[0], *words[2:]]),
    ):
        with pytest.raises(ValueError, match="cannot have produced"):
            corpus.source_bits(broken)


def test_the_world_is_the_same_for_every_seed() -> None:
    towns: dict[str, str] = {}
    seen_again = 0
    for seed in (0, 1):
        for document in SyntheticCorpus(200_000, seed).documents("train"):
            for name, town in re.findall(r"\? \w+ , (\w+) from (\w+) is an? ", document):
                seen_again += name in towns
                assert towns.setdefault(name, town) == town
    assert seen_again > 30


def test_seed_and_split_decide_the_documents_and_size_only_how_many() -> None:
    def take(size_bytes: int, seed: int, split: str) -> list[str]:
        return list(SyntheticCorpus(size_bytes, seed).documents(split))

    short, long = take(20_000, 1, "train"), take(60_000, 1, "train")
    assert long[: len(short)] == short
    assert take(20_000, 1, "train") == short
    different = [short, take(20_000, 2, "train"), take(400_000, 1, "dev"), take(400_000, 1, "test")]
    assert sum(map(len, different)) == len(set().union(*different))


def test_sizes_are_met_within_one_document() -> None:
    corpus = SyntheticCorpus(100_000, seed=0, held_out_fraction=0.1)
    for split, wanted in (("train", 100_000), ("dev", 10_000), ("test", 10_000)):
        sizes = [len(document.encode()) for document in corpus.documents(split)]
        assert sum(sizes) - sizes[-1] < wanted <= sum(sizes)
    assert corpus.size_bytes() == (100_000, False)


def test_documents_are_one_line_of_moderate_length(documents: list[str]) -> None:
    lengths = [len(document.split()) for document in documents]
    assert not any("\n" in document for document in documents)
    assert min(lengths) > 80
    assert max(lengths) < 400


def test_fingerprint_tells_settings_apart() -> None:
    settings = [(10_000, 0, 0.05), (10_001, 0, 0.05), (10_000, 1, 0.05), (10_000, 0, 0.1)]
    assert len({SyntheticCorpus(*setting).fingerprint() for setting in settings}) == len(settings)


def test_generator_version_guards_the_cache() -> None:
    """If this fails the documents of a seed have changed: raise GENERATOR_VERSION, then take over the new hash."""
    text = "\n".join(SyntheticCorpus(100_000, seed=0).documents("train"))
    assert SyntheticCorpus(100_000, seed=0).fingerprint() == "synthetic-2-0-100000-5000-5000"
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "da57f1a16411e3f2"


def test_lexicon_keeps_its_classes_apart() -> None:
    forms = world().domains
    for name, domain in forms.items():
        assert len(set(domain["word"])) == len(domain["word"]), name
    assert set(forms["noun"]["word"]).isdisjoint(forms["adjective"]["word"])
    leads = [group[0] for group in lexicon.ADJECTIVES]
    assert all(len(group) == 4 for group in lexicon.ADJECTIVES)
    for kind, text in lexicon.KINDS.items():
        named = text.split("|")[1].split()
        assert set(named) <= set(leads), kind
        assert len(set(named)) == len(named), kind


def test_opposites_and_synonyms_go_both_ways() -> None:
    adjective = world().domains["adjective"]
    for form in ("opposite", "synonym"):
        partner = dict(zip(adjective["word"], adjective[form], strict=True))
        assert all(partner[partner[word]] == word != partner[word] for word in partner)
