"""The grammar's arithmetic against brute force: every document of a small source, counted."""

from __future__ import annotations

import math
from collections import Counter
from itertools import product

import pytest

from paramalloc.data.grammar import Block, Genre, Grammar, Row, Table, World

GRID = [(2 * i + 1) / 8 for i in range(4)]  # all weights below are quarters, so each value stands for a quarter


def quarters(*weights: int) -> Row:
    return Row([(i, float(weight)) for i, weight in enumerate(weights) if weight])


def small_grammar() -> Grammar:
    world = World(
        {
            "name": {"word": ["Ann", "Bob", "Cleo"], "he": ["she", "he", "she"], "full": ["Ann A", "Bob B", "Cleo C"]},
            "thing": {"word": ["hat", "umbrella"], "many": ["hats", "umbrellas"]},
        },
        {
            "name": Table("name", [quarters(2, 1, 1)]),
            "owns": Table("thing", [quarters(3, 1), quarters(1, 3), quarters(4)], "name"),
            "knows": Table("name", [quarters(0, 3, 1), quarters(2, 0, 2), quarters(1, 3)], "name"),
        },
    )
    openings = [Block("hello {p.full:name} .", world, {}), Block("é , {p:name} .", world, {})]
    genres = [
        Genre(
            opening,
            [
                Block("{p.he} has {t:owns|p} .", world, opening.variables),
                Block("{t.many:owns|q} are what {q:knows|p} has .", world, opening.variables),
            ],
            quarters(3, 1),
            [Block("bye {p} .", world, opening.variables)],
            quarters(4),
        )
        for opening in openings
    ]
    return Grammar(genres, quarters(1, 3), Row([(0, 1.0), (2, 3.0)]))


@pytest.fixture(scope="module")
def every_document() -> dict[str, float]:
    """The probability of each document of the small source, by counting all equally likely sequences of draws."""
    grammar = small_grammar()
    draws = 1 + 1 + 1 + 2 * 3 + 1  # genre, name, count, two sentences of at most three draws, closing
    count: Counter[str] = Counter()
    for sequence in product(GRID, repeat=draws - 3):
        # draws near the end of the longest documents are cut to a coarser grid by reusing the first three values
        count[grammar.write(iter(sequence + sequence[:3]).__next__)] += 1
    total = sum(count.values())
    return {text: number / total for text, number in count.items()}
