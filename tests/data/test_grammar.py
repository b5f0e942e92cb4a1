"""The grammar's arithmetic against brute force: every document of a small source, with all paths that lead to it."""

from __future__ import annotations

import math
from collections import defaultdict

import pytest

from paramalloc.data.grammar import Block, Genre, Grammar, Row, Table, World


def row(*weights: float) -> Row:
    return Row([(i, weight) for i, weight in enumerate(weights) if weight])


def small_grammar() -> Grammar:
    world = World(
        {
            "name": {
                "word": ["Ann", "Bob", "Cleo"],
                "he": ["she", "he", "she"],
                "full": ["Ann A", "Bob B", "Cleo C"],
            },
            "thing": {"word": ["hat", "umbrella"], "many": ["hats", "umbrellas"]},
        },
        {
            "name": Table("name", [row(5, 2, 1)]),
            "owns": Table("thing", [row(3, 1), row(1, 4), row(1)], "name"),
            "knows": Table("name", [row(0, 3, 1), row(1, 0, 2), row(1, 3)], "name"),
        },
    )
    openings = [Block("hello {p.full:name} .", world, {}), Block("é , {p:name} .", world, {})]
    genres = []
    for opening in openings:
        middles = [
            Block("{p.he} has {t:owns|p} .", world, opening.variables),
            Block("{t.many:owns|q} are what {q:knows|p} has .", world, opening.variables),
        ]
        closings = [Block("bye {p} .", world, opening.variables), Block("bye all .", world, opening.variables)]
        genres.append(Genre(opening, middles, row(3, 1), closings, row(1, 4)))
    return Grammar(genres, row(1, 3), Row([(0, 1.0), (2, 3.0)]))


class Script:
    """Stands in for chance: takes the options it was told to, then always the first, and multiplies their odds."""

    def __init__(self, plan: list[int]) -> None:
        self.plan, self.taken, self.widths, self.probability = plan, [], [], 1.0

    def choose(self, options: Row) -> int:
        place = len(self.taken)
        index = self.plan[place] if place < len(self.plan) else 0
        self.taken.append(index)
        self.widths.append(len(options.options))
        self.probability *= options.probability[options.options[index]]
        return options.options[index]


@pytest.fixture(scope="module")
def paths() -> dict[str, list[float]]:
    """Each document of the small source, and the probability of every choice path that gives it."""
    grammar, found, plan = small_grammar(), defaultdict(list), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Row, "draw", lambda self, script: script.choose(self))
        while True:
            script = Script(plan)
            found[grammar.write(script)].append(script.probability)
            plan = script.taken
            while plan and plan[-1] == script.widths[len(plan) - 1] - 1:
                plan.pop()
            if not plan:
                return dict(found)
            plan[-1] += 1


def test_text_and_choices_determine_each_other(paths: dict[str, list[float]]) -> None:
    assert len(paths) > 300
    assert all(len(ways) == 1 for ways in paths.values())
    assert sum(p for ways in paths.values() for p in ways) == pytest.approx(1.0)


def test_bits_are_those_of_the_path(paths: dict[str, list[float]]) -> None:
    grammar = small_grammar()
    for document, (probability,) in paths.items():
        assert grammar.bits(document) == pytest.approx(-math.log2(probability)), document


def test_expectations_are_those_of_all_documents(paths: dict[str, list[float]]) -> None:
    bits, size = small_grammar().expected()
    assert bits == pytest.approx(-sum(p * math.log2(p) for (p,) in paths.values()))
    assert size == pytest.approx(sum(p * len(document.encode()) for document, (p,) in paths.items()))


def test_draws_follow_the_weights() -> None:
    options = Row([(7, 1.0), (3, 2.0), (5, 1.0)])
    drawn = [options.draw(lambda u=u: u) for u in (0.0, 0.2499, 0.25, 0.7499, 0.75, 1 - 2**-53)]
    assert drawn == [7, 7, 3, 3, 5, 5]
    assert options.entropy_bits == pytest.approx(1.5)


@pytest.mark.parametrize(
    "document",
    [
        "hello Bob B .",  # no closing
        "hello Bob B . bye all . bye all .",  # text after the closing
        "hello Bob B . bye all . ",
        "hello Bob B . he has hat . bye all .",  # one sentence, but there are none or two
        "hello Bob B . she has hat . he has hat . bye all .",  # Bob is he
        "hello Bob B . bye Ann .",
        "hello Bob C . bye all .",
        "hello Cleo C . she has umbrella . she has hat . bye all .",  # Cleo never has an umbrella
        "hello Ann A . hats are what Ann has . she has hat . bye all .",  # Ann does not know herself
        "",
    ],
)
def test_other_documents_are_refused(document: str) -> None:
    with pytest.raises(ValueError, match="cannot have produced"):
        small_grammar().bits(document)
