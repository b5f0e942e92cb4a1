"""The built-in corpus: a seeded source of short English-like documents whose true entropy is known exactly.

Always holds: the world (facts, collocations) is the same for every seed, which only draws the documents; train, dev
and test are independent streams; a longer corpus begins with the shorter one; a document's last sentence shows that
it is the last, so that an end-of-text token carries no information. Each document is one line of about 150 words.

    SyntheticCorpus(8_000_000, seed=0).entropy_bits_per_byte
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from functools import cache
from typing import Any

from paramalloc.data.grammar import Block, Genre, Grammar, Row
from paramalloc.data.splits import Split
from paramalloc.data.world import world

# Part of every cache key: raise it when a seed's documents change (tests/data/test_synthetic.py notices).
GENERATOR_VERSION = 2
SENTENCES = range(8, 15)

# Every opening draws hero, friend, place, thing, mood, month and weather; the other sentences go back to them.
OPENINGS = {
    "story": "on {day:day} {month:month} {year:year} , {mood.a:mood} {weather:weather|month} day , {hero.full:name} "
    ", {hero.a_job} from {hero.town} , and {friend:friend|hero} met {place.at:place|hero} to find "
    "{thing.a:met|place} .",
    "letter": "{hero.town} , {day:day} {month:month} {year:year} , {weather:weather|month} . dear "
    "{friend:friend|hero} , what {mood.a:mood} time {hero.full:name} had {place.at:place|hero} with "
    "{thing.a:met|place} !",
    "lesson": "lesson {number:number} , {day:day} {month:month} {year:year} , {weather:weather|month} . "
    "{hero.full:name} had {mood.a:mood} talk with {friend:friend|hero} {place.at:place|hero} about "
    "{thing.a:met|place} .",
}
CLOSINGS = {
    "story": [
        "{hero} took the {thing} to {hero.town} . it was {j.a:judgement|mood} day . the end .",
        "so {friend} took the {thing} to {friend.town} . it was {j.a:judgement|mood} day . the end .",
    ],
    "letter": [
        "i will send the {thing} . it was {j.a:judgement|mood} day . yours , {hero} .",
        "do see the {thing} . it was {j.a:judgement|mood} day . yours , {hero} .",
    ],
    "lesson": [
        "so much for the {thing} . it was {j.a:judgement|mood} lesson .",
        "so {friend} knows the {thing} . it was {j.a:judgement|mood} lesson .",
    ],
}
# Sentences of all genres: questions, paraphrases and conclusions that the world answers.
COMMON = [
    "is it true that the {n:met|place} of {p:name} {s:surname} is {a:look|n} ? yes , {a} .",
    "is it true that the {n:met|place} of {p:name} {s:surname} is {a.opposite:look|n} ? no , {a} .",
    "the {n:met|place} of {p:name} {s:surname} is {a:look|n} , in other words {a.synonym} .",
    "{p:name} {s:surname} {v:act|n} {x:number} {n.plural:met|place} , so {p} {v} {n.a_kind} .",
    "{p:name} {s:surname} {v:act|n} {x:number} {n.plural:met|place} , but not {k.a:other_kind|n} .",
    "is {p:knows|hero} {s:surname} {p.a_job} ? yes , {p} from {p.town} is {p.a_job} .",
    "is {p:knows|hero} {s:surname} {j.a:other_job|p} ? no , {p} from {p.town} is {p.a_job} .",
    "{x:number} {n.plural:met|place} cost {y:price|n} coins , {z:number} {b:look|m} {m.plural:met|place} "
    "{w:price|m} .",
]
# Sentences of all genres in which a word follows from the word before it: few facts, met often and so learnt first.
PLAIN_FACTS = [
    "{friend} began to {e.base:deed|mood} {mood.tone} .",
    "{p:name} {s:surname} left on {u.a:month} {u.season} day .",
    "what burns ? {y:material} {y.burns} , {z:material} {z.burns} , said {p:name} .",
    "words that mean the same : {j:judgement|mood} {j.synonym} .",
]
STORY = [
    "{t:time} {hero} {v:act|n} {x:number} {a:look|n} {n.plural:met|place} and {w:act|m} {y:number} {b:look|m} "
    "{m.plural:met|place} .",
    "{friend} sold {x:number} {a:look|n} {n.plural:met|place} to {p:name} {s:surname} and {q:name} {r:surname} .",
    "at {h:clock} {p:knows|hero} {s:surname} {i:move} {d:manner|mood} and {v:act|n} {x:number} {a:look|n} "
    "{n.plural:met|place} .",
    "the {c:colour} {n:met|place} is from {p:name} {s:surname} , who {i:move} to {u:town} at {h:clock} .",
    "{t:time} {p:knows|hero} {s:surname} and {q:knows|friend} {v:act|n} {x:number} {a:look|n} {n.plural:met|place} .",
    "{place.at} lay {a.a:look|thing} {thing} , {y:number} {b:look|n} {n.plural:met|place} and {x:number} {c:colour} "
    "{m.plural:met|place} .",
    "it was {mood.a} day , so {hero.he} {e:deed|mood} {d:manner|mood} at {h:clock} and {v:act|n} {x:number} "
    "{n.plural:met|place} .",
    "{hero} {mood.wish} that {p:name} {s:surname} would {v.base:act|thing} the {thing} and {x:number} "
    "{n.plural:met|place} .",
    "{p:knows|friend} {s:surname} {e:deed|mood} {d:manner|mood} at {h:clock} , as the {a:look|n} {n:met|place} was "
    "{j:judgement|mood} .",
    "{hero.he} {i:move} {d:manner|mood} with {p:name} {s:surname} and {q:name} , {v.ing:act|n} {x:number} "
    "{c:colour} {n.plural:met|place} .",
    "in {weather} {u:town} {p:name} {s:surname} {v:act|n} {x:number} {a:look|n} {n.plural:met|place} "
    "{d:manner|mood} .",
    "{friend} asked at {h:clock} : is the {thing} {a:look|thing} or {a.opposite} ? {hero} said {d:manner|mood} : "
    "{a} .",
]
LETTER = [
    "{t:time} i {v:act|n} {x:number} {a:look|n} {n.plural:met|place} for {p:name} {s:surname} and {w:act|m} "
    "{y:number} {b:look|m} {m.plural:met|place} .",
    "please bring {x:number} {c:colour} {n.plural:met|place} , {y:number} {a:look|m} {m.plural:met|place} and "
    "{p:name} {s:surname} .",
    "{p:knows|hero} {s:surname} {e:deed|mood} {d:manner|mood} when {q:name} {r:surname} {v:act|n} {x:number} "
    "{a:look|n} {n.plural:met|place} .",
    "i {mood.wish} that {p:knows|hero} {s:surname} would {v.base:act|n} {x:number} {c:colour} {n.plural:met|place} "
    "in {u:town} .",
    "our {y:number} {a:look|n} {n.plural:met|place} and {x:number} {m.plural:met|place} of {p:name} {s:surname} are "
    "{place.at} .",
    "at {h:clock} {p:name} {s:surname} {i:move} {d:manner|mood} to {u:town} and {v:act|n} {x:number} "
    "{n.plural:met|place} .",
    "the {thing} is {a:look|thing} , said {p:name} {s:surname} at {h:clock} , and {q:name} {r:surname} "
    "{e:deed|mood} {d:manner|mood} .",
]
LESSON = [
    "{n.a:met|place} is {n.a_kind} of {n.material} from {n.town} , {a:look|n} and {n.colour} .",
    "{p:name} {s:surname} , {p.a_job} , saw {x:number} {n.plural:met|place} in {u:town} in {y:year} .",
    "{x:number} {n.plural:met|place} are made in {n.month} and {y:number} {b:look|m} {m.plural:met|place} in "
    "{m.month} .",
    "who {v:act|n} {x:number} {a:look|n} {n.plural:met|place} in {y:year} ? {p:name} {s:surname} or {q:name} "
    "{r:surname} .",
    "{p:name} {s:surname} of {p.town} : born {x:day} {p.month} {y:year} , likes {p.colour} , plays the "
    "{p.instrument} , eats {p.dish} and keeps {p.pet} {q:name} and {w:number} {a:look|n} {n.plural:met|place} .",
    "{n.job} {p:name} {s:surname} {v:act|n} {x:number} {c:colour} {n.plural:met|place} {d:manner|mood} by {h:clock} "
    ".",
    "{x:number} {a:look|n} {n.plural:met|place} , {y:number} {b:look|m} {m.plural:met|place} and {z:number} "
    "{c:colour} {o.plural:met|place} are {place.at} .",
    "{friend} asked at {h:clock} : is the {thing} {a:look|thing} or {a.opposite} ? {hero} said {d:manner|mood} : "
    "{a} .",
]
# How many times as likely these are as a common sentence.
FACT_WEIGHT, OWN_WEIGHT = 3.0, 3.0
OWN = {"story": STORY, "letter": LETTER, "lesson": LESSON}


@cache
def grammar() -> Grammar:
    """The grammar of all synthetic corpora, compiled once in a process."""
    return Grammar([_genre(name) for name in OPENINGS], _uniform(OPENINGS), Row((count, 1.0) for count in SENTENCES))


def _genre(name: str) -> Genre:
    opening = Block(OPENINGS[name], world(), {})
    weight_of = (
        dict.fromkeys(COMMON, 1.0) | dict.fromkeys(PLAIN_FACTS, FACT_WEIGHT) | dict.fromkeys(OWN[name], OWN_WEIGHT)
    )
    middles = [Block(text, world(), opening.variables) for text in weight_of]
    closings = [Block(text, world(), opening.variables) for text in CLOSINGS[name]]
    return Genre(opening, middles, Row(enumerate(weight_of.values())), closings, _uniform(closings))


def _uniform(items: Collection[Any]) -> Row:
    return Row((i, 1.0) for i in range(len(items)))


class SyntheticCorpus:
    """A corpus of `size_bytes` train bytes (a document more at most), with held-out splits of a fraction of that."""

    name = "synthetic"

    def __init__(self, size_bytes: int, seed: int, held_out_fraction: float = 0.05) -> None:
        held_out = round(size_bytes * held_out_fraction)
        self._sizes: dict[Split, int] = {"train": size_bytes, "dev": held_out, "test": held_out}
        self._seed = seed

    @property
    def entropy_bits_per_byte(self) -> float:
        """The source's entropy rate: expected bits over expected UTF-8 bytes of a document, from the tables alone."""
        bits, size = grammar().expected()
        return bits / size

    def source_bits(self, document: str) -> float:
        """Exact -log2 probability of `document`. Errors: ValueError if the source cannot have produced it."""
        return grammar().bits(document)

    def documents(self, split: Split) -> Iterator[str]:
        """Documents until their bytes reach the split's size; the stream depends on the seed and the split alone."""
        dice = random.Random(f"paramalloc {self._seed} {split}").random
        written = 0
        while written < self._sizes[split]:
            document = grammar().write(dice)
            written += len(document.encode())
            yield document

    def size_bytes(self) -> tuple[int, bool]:
        return self._sizes["train"], False

    def fingerprint(self) -> str:
        return f"synthetic-{GENERATOR_VERSION}-{self._seed}-{'-'.join(map(str, self._sizes.values()))}"
