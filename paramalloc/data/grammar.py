"""A text source whose probabilities are known exactly: templates over a world of words, drawn, parsed and summed up.

Always holds: a document and the choices that make it determine each other, so its probability is the product of
theirs; every draw depends on at most one earlier draw, so expectations follow from marginals, without sampling.

A template is English with slots: `{n:met|place}` draws variable n from the table `met` given the variable
`place`; `{n}` or `{n.plural}` then shows n again, in its plain or another form, and costs nothing.
"""

from __future__ import annotations

import math
import re
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

Random = Callable[[], float]
Values = dict[str, int]
PLAIN = "word"
_SLOT = re.compile(r"\{(\w+)(?:\.(\w+))?(?::(\w+)(?:\|(\w+))?)?\}")


class Row:
    """One distribution over the values of a domain: (value, weight) pairs, weights in any scale."""

    def __init__(self, weights: Iterable[tuple[int, float]]) -> None:
        pairs = list(weights)
        total = math.fsum(weight for _, weight in pairs)
        self.options = [value for value, _ in pairs]
        self.probability = {value: weight / total for value, weight in pairs}
        assert len(self.probability) == len(pairs), "a value stands twice in one distribution"
        self.cumulative = list(accumulate(self.probability.values()))
        self.cumulative[-1] = 1.0  # rounding must not leave a gap above the last option
        self.entropy_bits = -math.fsum(p * math.log2(p) for p in self.probability.values())

    def draw(self, random: Random) -> int:
        return self.options[bisect(self.cumulative, random())]

    def bits(self, value: int) -> float:
        """-log2 of the probability of `value`. Errors: KeyError for a value that is no option."""
        return -math.log2(self.probability[value])


@dataclass(frozen=True)
class Table:
    """Distributions over one domain: one row for each value of the parent domain, or a single row without parent."""

    domain: str
    rows: list[Row]
    parent: str | None = None


class World:
    """Domains of words (domain -> form -> the text of each value; the form `word` is the plain one), and tables."""

    def __init__(self, domains: Mapping[str, Mapping[str, list[str]]], tables: Mapping[str, Table]) -> None:
        self.domains, self.tables = domains, tables
        self._dense: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def dense(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Transition matrix (parents, children) and row entropies in bits (parents,) of the table `name`."""
        if name not in self._dense:
            table = self.tables[name]
            matrix = np.zeros((len(table.rows), len(self.domains[table.domain][PLAIN])))
            for i, row in enumerate(table.rows):
                matrix[i, row.options] = list(row.probability.values())
            self._dense[name] = matrix, np.array([row.entropy_bits for row in table.rows])
        return self._dense[name]


@dataclass(frozen=True)
class _Draw:
    variable: str
    table: str
    rows: list[Row]
    parent: str | None


@dataclass(frozen=True)
class _Slot:
    variable: str
    strings: list[str]
    value_of: dict[str, int] = field(repr=False)  # of use only where the strings are distinct
    words: int  # the same for all strings, so that a slot's place in the text is known


class Block:
    """One template, compiled. `given` maps the variables drawn before it to their domains."""

    def __init__(self, text: str, world: World, given: Mapping[str, str]) -> None:
        self.text, self._world = text, world
        self.variables = dict(given)
        mentions = [match.groups() for match in _SLOT.finditer(text)]
        drawn = [(name, table, parent) for name, _, table, parent in mentions if table]
        self.variables |= {name: world.tables[table].domain for name, table, _ in drawn}
        self._draws = [_Draw(n, t, world.tables[t].rows, p) for n, t, p in _parents_first(text, drawn, list(given))]
        self.slots = [self._slot(name, form or PLAIN) for name, form, _, _ in mentions]
        self._named_by = {draw.variable: self._naming_slot(draw.variable) for draw in self._draws}
        self._format = _SLOT.sub("{}", text)
        literals = [re.escape(part) for part in _SLOT.sub("\0", text).split("\0")]
        groups = [rf"({' '.join([r'[^ ]+'] * slot.words)})" for slot in self.slots] + [""]
        pattern = "".join(a + b for a, b in zip(literals, groups, strict=True))
        self._pattern = re.compile(pattern + r"(?: (?!\Z)|\Z)")

    def write(self, values: Values, random: Random) -> str:
        """Draw the block's own variables into `values` and return its text."""
        for draw in self._draws:
            row = draw.rows[values[draw.parent] if draw.parent else 0]
            values[draw.variable] = row.draw(random)
        return self._format.format(*[slot.strings[values[slot.variable]] for slot in self.slots])

    def read(self, document: str, start: int, values: Values) -> tuple[int, float] | None:
        """Parse the block at `start`: where the next one begins and the bits spent; None if this is another block.

        Fills the block's own variables into `values` only when it is this block.
        """
        match = self._pattern.match(document, start)
        if match is None:
            return None
        shown, found = match.groups(), dict(values)
        for variable, i in self._named_by.items():
            if shown[i] not in self.slots[i].value_of:
                return None
            found[variable] = self.slots[i].value_of[shown[i]]
        if any(slot.strings[found[slot.variable]] != text for slot, text in zip(self.slots, shown, strict=True)):
            return None
        bits = 0.0
        for draw in self._draws:
            row = draw.rows[found[draw.parent] if draw.parent else 0]
            if found[draw.variable] not in row.probability:
                return None
            bits += row.bits(found[draw.variable])
        values.update(found)
        return match.end(), bits

    def expected(self, marginals: dict[str, np.ndarray]) -> tuple[float, float]:
        """Expected bits and UTF-8 bytes, given the marginals of earlier variables; adds those of its own."""
        bits = 0.0
        for draw in self._draws:
            parent = marginals[draw.parent] if draw.parent else np.ones(1)
            matrix, entropies = self._world.dense(draw.table)
            bits += float(parent @ entropies)
            marginals[draw.variable] = parent @ matrix
        size = float(len(self._format.replace("{}", "").encode()))
        for slot in self.slots:
            size += float(marginals[slot.variable] @ [len(text.encode()) for text in slot.strings])
        return bits, size

    def _slot(self, variable: str, form: str) -> _Slot:
        strings = self._world.domains[self.variables[variable]][form]
        (words,) = {text.count(" ") + 1 for text in strings}
        return _Slot(variable, strings, {text: value for value, text in enumerate(strings)}, words)

    def _naming_slot(self, variable: str) -> int:
        for i, slot in enumerate(self.slots):
            if slot.variable == variable and len(slot.value_of) == len(slot.strings):
                return i
        raise AssertionError(f"nothing in the text tells the value of {variable}: {self.text}")


@dataclass(frozen=True)
class Genre:
    """A kind of document: an opening that draws what holds throughout, sentences in any order, a closing."""

    opening: Block
    middles: list[Block]
    middle_row: Row
    closings: list[Block]
    closing_row: Row


class Grammar:
    """Genres, how likely each is, and how many sentences stand between opening and closing (independent of both)."""

    def __init__(self, genres: list[Genre], genre_row: Row, length_row: Row) -> None:
        self.genres, self._genre_row, self._length_row = genres, genre_row, length_row

    def write(self, random: Random) -> str:
        """One document, from a source of uniform numbers in [0, 1)."""
        genre = self.genres[self._genre_row.draw(random)]
        values: Values = {}
        parts = [genre.opening.write(values, random)]
        for _ in range(self._length_row.draw(random)):
            parts.append(genre.middles[genre.middle_row.draw(random)].write(values, random))
        parts.append(genre.closings[genre.closing_row.draw(random)].write(values, random))
        return " ".join(parts)

    def bits(self, document: str) -> float:
        """Exact -log2 probability of a whole document. Errors: ValueError if the grammar cannot have produced it."""
        values: Values = {}
        openings = [genre.opening for genre in self.genres]
        kind, position, bits = _read_one_of(openings, document, 0, values)
        genre = self.genres[kind]
        blocks = genre.middles + genre.closings
        total = bits + self._genre_row.bits(kind)
        for length in range(max(self._length_row.options) + 1):
            index, position, bits = _read_one_of(blocks, document, position, values)
            total += bits
            if index < len(genre.middles):
                total += genre.middle_row.bits(index)
            elif position == len(document) and length in self._length_row.options:
                return total + genre.closing_row.bits(index - len(genre.middles)) + self._length_row.bits(length)
            else:
                break
        raise ValueError("the source cannot have produced a document with this many sentences, or text after its end")

    def expected(self) -> tuple[float, float]:
        """Expected bits and UTF-8 bytes of a document, worked out from the tables (no sampling)."""
        lengths = self._length_row.probability
        mean_length = sum(length * p for length, p in lengths.items())
        bits = self._genre_row.entropy_bits + self._length_row.entropy_bits
        size = mean_length + 1.0  # the spaces between blocks
        for kind, probability in self._genre_row.probability.items():
            genre = self.genres[kind]
            marginals: dict[str, np.ndarray] = {}
            parts = [(1.0, genre.opening.expected(marginals))]
            for row, blocks, count in (
                (genre.middle_row, genre.middles, mean_length),
                (genre.closing_row, genre.closings, 1.0),
            ):
                parts.append((count, (row.entropy_bits, 0.0)))
                parts += [(count * p, blocks[i].expected(dict(marginals))) for i, p in row.probability.items()]
            bits += probability * sum(weight * part[0] for weight, part in parts)
            size += probability * sum(weight * part[1] for weight, part in parts)
        return bits, size


def _parents_first(
    text: str, drawn: list[tuple[str, str, str | None]], known: list[str]
) -> list[tuple[str, str, str | None]]:
    """The draws in an order in which every parent comes before its children: `{a:look|n} {n:noun}` draws n first."""
    ordered: list[tuple[str, str, str | None]] = []
    waiting = list(drawn)
    while waiting:
        ready = [draw for draw in waiting if draw[2] is None or draw[2] in known]
        assert ready, f"no variable to begin with in: {text}"
        ordered += ready
        known = known + [name for name, _, _ in ready]
        waiting = [draw for draw in waiting if draw not in ready]
    return ordered


def _read_one_of(blocks: list[Block], document: str, start: int, values: Values) -> tuple[int, int, float]:
    for index, block in enumerate(blocks):
        result = block.read(document, start, values)
        if result is not None:
            return index, *result
    raise ValueError(f"the source cannot have produced this text: {document[start : start + 60]!r}")
