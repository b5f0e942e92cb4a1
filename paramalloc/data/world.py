"""The synthetic world: who lives where and does what, what things are like, and which words go together.

Always holds: it is the same for every corpus seed and on every machine, since it is drawn once from a fixed stream
of `random.random()` (a sequence that Python promises to keep). The facts are what a model can learn by heart.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import product
from typing import TypeVar

from paramalloc.data import lexicon as lex
from paramalloc.data.grammar import PLAIN, Row, Table, World

T = TypeVar("T")
Domains = dict[str, dict[str, list[str]]]

_FRIENDS, _ACQUAINTANCES, _REGULAR_PLACES, _PRICES = 6, 40, 16, 8
_SYNONYM_WEIGHT = 0.6  # how often the synonym stands for the plain word, relative to it


@cache
def world() -> World:
    """Build the world (about 0.1 s, once in a process)."""
    dice = _Dice("paramalloc world 1")
    kinds = {kind: [part.split() for part in text.split("|")] for kind, text in lex.KINDS.items()}
    domains: Domains = {
        name: {PLAIN: list(words)}
        for name, words in {
            "weekday": lex.WEEKDAYS,
            "clock": lex.CLOCK,
            "number": lex.NUMBERS,
            "day": lex.DAYS,
            "year": lex.YEARS,
            "time": lex.TIMES,
            "surname": ["".join(parts) for parts in product(lex.SURNAME_HEADS, lex.SURNAME_TAILS)],
            "weather": dict.fromkeys(word for season in lex.WEATHER for word in season),
            "manner": lex.GOOD_MANNERS + lex.BAD_MANNERS + lex.PLAIN_MANNERS,
            "job": lex.JOBS,
            "colour": lex.COLOURS,
            "kind": kinds,
            "town": ["".join(parts) for parts in product(lex.TOWN_HEADS, lex.TOWN_TAILS)],
        }.items()
    }
    domains["month"] = {
        PLAIN: lex.MONTHS,
        "season": [lex.SEASONS[_season(month)] for month in range(len(lex.MONTHS))],
    }
    domains["material"] = _material_forms()
    domains["judgement"] = _judgement_forms()
    domains["mood"] = _mood_forms()
    domains["adjective"] = _adjective_forms()
    domains["verb"] = _verb_forms(kinds)
    domains["place"] = _place_forms()
    domains["noun"] = _noun_forms(kinds, domains, dice)
    domains["name"] = _name_forms(domains, dice)
    for name in ("job", "kind", "month"):
        domains[name]["a"] = _with_article(domains[name][PLAIN])
    return World(domains, _tables(domains, kinds, dice))


class _Dice:
    """Draws built on `random()` alone, the one method whose sequence is fixed for good."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed).random

    def shuffled(self, items: Iterable[T]) -> list[T]:
        return sorted(items, key=lambda _: self._random())

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self._random() * len(items))]

    def row(self, items: Iterable[int], exponent: float) -> Row:
        """The items in random order, with Zipf weights."""
        return _zipf(self.shuffled(items), exponent)


def _zipf(items: Sequence[int], exponent: float) -> Row:
    """Weight 1 / (rank + 2) ^ exponent: Zipf's law with Mandelbrot's shift."""
    return Row((item, (rank + 3.0) ** -exponent) for rank, item in enumerate(items))


def _with_article(words: Iterable[str]) -> list[str]:
    return [f"{'an' if word[0] in 'aeiouAO' and word not in lex.CONSONANT_SOUND else 'a'} {word}" for word in words]


def _plural(noun: str) -> str:
    if noun in lex.IRREGULAR_PLURALS:
        return lex.IRREGULAR_PLURALS[noun]
    if _ends_in_y(noun):
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def _past(verb: str) -> str:
    if verb in lex.IRREGULAR_PASTS:
        return lex.IRREGULAR_PASTS[verb]
    if verb.endswith("e"):
        return verb + "d"
    return verb[:-1] + "ied" if _ends_in_y(verb) else _doubled(verb) + "ed"


def _ing(verb: str) -> str:
    return (verb[:-1] if verb.endswith("e") else _doubled(verb)) + "ing"


def _doubled(verb: str) -> str:
    return verb + verb[-1] if verb in lex.DOUBLING_VERBS else verb


def _ends_in_y(word: str) -> bool:
    return word.endswith("y") and word[-2] not in "aeiou"


def _season(month: int) -> int:
    """Of a month counted from January as 0: winter is December to February."""
    return (month + 1) % 12 // 3


def _material_forms() -> dict[str, list[str]]:
    burning, fireproof = lex.BURNING_MATERIALS, lex.FIREPROOF_MATERIALS
    return {PLAIN: burning + fireproof, "burns": ["yes"] * len(burning) + ["no"] * len(fireproof)}


def _judgement_forms() -> dict[str, list[str]]:
    words = lex.GOOD_WORDS + lex.BAD_WORDS
    synonyms = [word for one, other in zip(words[::2], words[1::2], strict=True) for word in (other, one)]
    return {PLAIN: words, "a": _with_article(words), "synonym": synonyms}


def _mood_forms() -> dict[str, list[str]]:
    good, bad = len(lex.GOOD_MOODS), len(lex.BAD_MOODS)
    words = lex.GOOD_MOODS + lex.BAD_MOODS
    return {
        PLAIN: words,
        "a": _with_article(words),
        "tone": ["gladly"] * good + ["sadly"] * bad,
        "wish": ["hoped"] * good + ["feared"] * bad,
    }


def _adjective_forms() -> dict[str, list[str]]:
    words = [word for group in lex.ADJECTIVES for word in group]
    synonyms = [word for a, b, c, d in lex.ADJECTIVES for word in (b, a, d, c)]
    opposites = [word for a, b, c, d in lex.ADJECTIVES for word in (c, d, a, b)]
    return {PLAIN: words, "a": _with_article(words), "synonym": synonyms, "opposite": opposites}


def _verb_forms(kinds: dict[str, list[list[str]]]) -> dict[str, list[str]]:
    special = [verb for _, _, verbs in kinds.values() for verb in verbs]
    bases = list(dict.fromkeys(lex.COMMON_VERBS + special + lex.MOVES + lex.GOOD_DEEDS + lex.BAD_DEEDS))
    return {PLAIN: [_past(verb) for verb in bases], "base": bases, "ing": [_ing(verb) for verb in bases]}


def _place_forms() -> dict[str, list[str]]:
    pairs = [place.split(":") for theme in lex.THEMES for place in theme.split("|")[1].split()]
    return {PLAIN: [place for _, place in pairs], "at": [f"{where} the {place}" for where, place in pairs]}


def _noun_forms(kinds: dict[str, list[list[str]]], domains: Domains, dice: _Dice) -> dict[str, list[str]]:
    words = [noun for nouns, _, _ in kinds.values() for noun in nouns]
    kind_of = [kind for kind, (nouns, _, _) in kinds.items() for _ in nouns]
    forms = {PLAIN: words, "a": _with_article(words), "plural": [_plural(word) for word in words]}
    forms |= {"kind": kind_of, "a_kind": _with_article(kind_of)}
    for fact in ("colour", "material", "town", "job", "month"):
        forms[fact] = [dice.pick(domains[fact][PLAIN]) for _ in words]
    return forms


def _name_forms(domains: Domains, dice: _Dice) -> dict[str, list[str]]:
    people = dice.shuffled(
        [(name, "she", "her", "her") for name in lex.WOMEN] + [(n, "he", "him", "his") for n in lex.MEN]
    )
    names, he, him, his = (list(column) for column in zip(*people, strict=True))
    surnames = dice.shuffled(domains["surname"][PLAIN])
    forms = {PLAIN: names, "he": he, "him": him, "his": his}
    forms["full"] = [f"{name} {surname}" for name, surname in zip(names, surnames, strict=False)]
    for fact in ("town", "job", "month", "colour"):
        forms[fact] = [dice.pick(domains[fact][PLAIN]) for _ in names]
    forms["a_job"] = _with_article(forms["job"])
    for fact, kinds in {"dish": ("dish",), "pet": ("animal", "bird"), "instrument": ("instrument",)}.items():
        noun = domains["noun"]
        choices = [word for word, kind in zip(noun[PLAIN], noun["kind"], strict=True) if kind in kinds]
        forms[fact] = [dice.pick(choices) for _ in names]
    return forms


def _tables(domains: Domains, kinds: dict[str, list[list[str]]], dice: _Dice) -> dict[str, Table]:
    index = {name: {word: i for i, word in enumerate(forms[PLAIN])} for name, forms in domains.items()}
    tables = {
        name: Table(name, [dice.row(index[name].values(), exponent)])
        for name, exponent in {
            "name": 0.4, "surname": 0.4, "noun": 0.6, "mood": 0.6, "month": 0.3, "weekday": 0.3, "clock": 0.2,
            "time": 0.3, "day": 0.1, "year": 0.3, "number": 0.3, "colour": 0.3, "town": 0.5, "material": 0.3,
        }.items()
    }  # fmt: skip
    tables["move"] = Table("verb", [dice.row((index["verb"][_past(verb)] for verb in lex.MOVES), 0.4)])
    tables["weather"] = Table(
        "weather",
        [_zipf([index["weather"][w] for w in lex.WEATHER[_season(m)]], 0.4) for m in range(len(lex.MONTHS))],
        "month",
    )
    for name, fact in (("kind", "noun"), ("job", "name")):
        others = [[i for i in index[name].values() if i != index[name][true]] for true in domains[fact][name]]
        tables[f"other_{name}"] = Table(name, [Row((i, 1.0) for i in wrong) for wrong in others], fact)
    tables |= _name_tables(domains["name"], index, dice)
    tables |= _tone_tables(index, dice)
    tables |= _noun_tables(domains["noun"], kinds, index, dice)
    return tables


def _name_tables(names: dict[str, list[str]], index: dict[str, dict[str, int]], dice: _Dice) -> dict[str, Table]:
    """Whom each person knows (the first few are friends), and where people of each job are met."""
    people = index["name"].values()
    others = [dice.shuffled(i for i in people if i != person) for person in people]
    places = {job: dice.shuffled(index["place"].values())[:_REGULAR_PLACES] for job in index["job"]}
    return {
        "friend": Table("name", [_zipf(known[:_FRIENDS], 0.5) for known in others], "name"),
        "knows": Table("name", [_zipf(known[:_ACQUAINTANCES], 0.3) for known in others], "name"),
        "place": Table("place", [_zipf(places[job], 0.5) for job in names["job"]], "name"),
    }


def _tone_tables(index: dict[str, dict[str, int]], dice: _Dice) -> dict[str, Table]:
    """Manner, deed and judgement by mood: words of the mood's own tone only (manner: plain ones too)."""
    rows: dict[str, list[Row]] = {"manner": [], "deed": [], "judgement": []}
    for manners, deeds, judgements, moods in (
        (lex.GOOD_MANNERS, lex.GOOD_DEEDS, lex.GOOD_WORDS, lex.GOOD_MOODS),
        (lex.BAD_MANNERS, lex.BAD_DEEDS, lex.BAD_WORDS, lex.BAD_MOODS),
    ):
        manner = dice.row([index["manner"][word] for word in manners + lex.PLAIN_MANNERS], 0.4)
        deed = dice.row([index["verb"][_past(verb)] for verb in deeds], 0.4)
        judgement = dice.row([index["judgement"][word] for word in judgements], 0.4)
        for name, row in (("manner", manner), ("deed", deed), ("judgement", judgement)):
            rows[name] += [row] * len(moods)
    domain_of = {"manner": "manner", "deed": "verb", "judgement": "judgement"}
    return {name: Table(domain_of[name], rows[name], "mood") for name in rows}


def _noun_tables(
    nouns: dict[str, list[str]], kinds: dict[str, list[list[str]]], index: dict[str, dict[str, int]], dice: _Dice
) -> dict[str, Table]:
    """What is met at a place, done to a noun (by its kind), and its price and looks: one side of each opposition."""
    at_places = []
    for theme in lex.THEMES:
        found, places = (part.split() for part in theme.split("|"))
        here = dice.row([i for i, kind in enumerate(nouns["kind"]) if kind in found], 0.5)
        at_places += [here] * len(places)
    done = {
        kind: dice.row([index["verb"][_past(verb)] for verb in verbs + lex.COMMON_VERBS], 0.4)
        for kind, (_, _, verbs) in kinds.items()
    }
    group_of = {group[0]: number for number, group in enumerate(lex.ADJECTIVES)}
    looks, prices = [], []
    for kind in nouns["kind"]:
        weights = []
        for rank, lead in enumerate(dice.shuffled(kinds[kind][1])):
            word, weight = 4 * group_of[lead] + dice.pick((0, 2)), (rank + 3.0) ** -0.4
            weights += [(word, weight), (word + 1, _SYNONYM_WEIGHT * weight)]
        looks.append(Row(weights))
        prices.append(_zipf(dice.shuffled(index["number"].values())[:_PRICES], 0.5))
    return {
        "met": Table("noun", at_places, "place"),
        "act": Table("verb", [done[kind] for kind in nouns["kind"]], "noun"),
        "look": Table("adjective", looks, "noun"),
        "price": Table("number", prices, "noun"),
    }
