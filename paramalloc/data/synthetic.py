"""The built-in corpus: a seeded source of short English-like documents whose true entropy is known exactly.

Always holds: the world (facts, collocations) is the same for every seed, which only draws the documents; train, dev
and test are independent streams; a longer corpus begins with the shorter one; a document's last sentence shows that
it is the last, so that an end-of-text token carries no information. Each document is one line of about 150 words.

    SyntheticCorpus(8_000_000, seed=0).entropy_bits_per_byte
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

from paramalloc.data.grammar import Block, Genre, Grammar, Row
Split = str
from paramalloc.data.world import world

# Part of every cache key: raise it when a seed's documents change (tests/data/test_synthetic.py notices).
GENERATOR_VERSION = 1
SENTENCES = range(7, 13)

# Every opening draws hero, friend, place, thing, mood, month and weather: the rest of the document goes back to them.
OPENINGS = {
    "story": "on {day:day} {month:month} {year:year} , {mood.a:mood} and {weather:weather|month} day , {hero.full:name} , "
    "{hero.a_job} from {hero.town} , met {friend:friend|hero} {place.at:place|hero} to look for {thing.a:noun_at|place} .",
    "letter": "{day:day} {month:month} {year:year} , {hero.town} , {weather:weather|month} . dear {friend:friend|hero} , "
    "what {mood.a:mood} time {hero.full:name} has {place.at:place|hero} with {thing.a:noun_at|place} !",
    "lesson": "lesson {number:number} , {day:day} {month:month} {year:year} , {weather:weather|month} . {hero.full:name} , "
    "{hero.a_job} , has {mood.a:mood} talk with {friend:friend|hero} {place.at:place|hero} about {thing.a:noun_at|place} .",
}
CLOSINGS = {
    "story": [
        "finally {hero} took the {thing} to {hero.town} . it was {j.a:judgement|mood} day . the end .",
        "finally {friend} took the {thing} to {friend.town} . it was {j.a:judgement|mood} day . the end .",
    ],
    "letter": [
        "i will send you the {thing} . it was {j.a:judgement|mood} day . yours , {hero} .",
        "do come and see the {thing} . it was {j.a:judgement|mood} day . yours , {hero} .",
    ],
    "lesson": [
        "so much for the {thing} . {friend} thanked {hero} for {j.a:judgement|mood} lesson .",
        "so {friend} knows about the {thing} . {hero} gave {j.a:judgement|mood} lesson .",
    ],
}
# Sentences of all genres: questions, paraphrases and conclusions that the world answers.
COMMON = [
    "is it true that the {n:noun_at|place} is {a:look|n} ? yes , {a} .",
    "is it true that the {n:noun_at|place} is {a.opposite:look|n} ? no , {a} .",
    "the {n:noun_at|place} of {p:knows|hero} {s:surname} is {a:look|n} , in other words {a.synonym} .",
    "{p:name} {s:surname} {v:act|n} {x:number} {n.plural:noun_at|place} , so {p} {v} {n.a_kind} .",
    "{p:name} {s:surname} {v:act|n} {x:number} {n.plural:noun_at|place} , but not {k.a:other_kind|n} .",
    "is {p:knows|hero} {p.a_job} ? yes , {p.a_job} from {p.town} .",
    "is {p:knows|hero} {j.a:other_job|p} ? no , {p.a_job} from {p.town} .",
    "{x:number} {n.plural:noun_at|place} cost {y:price|n} coins , {z:number} {b:look|m} {m.plural:noun_at|place} {w:price|m} .",
]
STORY = [
    "{t:time} {hero} {v:act|n} {x:number} {a:look|n} {n.plural:noun_at|place} and {w:act|m} {b.a:look|m} {m:noun_at|place} .",
    "{friend} sold {x:number} {a:look|n} {n.plural:noun_at|place} to {p:name} {s:surname} and {q:name} {r:surname} .",
    "{t:time} {p:knows|hero} {s:surname} {i:move} {d:manner|mood} and {v:act|n} the {a:look|n} {n:noun_at|place} .",
    "the {c:colour} {n:noun_at|place} came from {p:name} {s:surname} , who {i:move} {d:manner|mood} in {u:town} .",
    "{t:time} {p:knows|hero} {s:surname} and {q:knows|friend} {v:act|n} {x:number} {a:look|n} {n.plural:noun_at|place} .",
    "{place.at} lay {a.a:look|thing} {thing} , {b.a:look|n} {n:noun_at|place} and {x:number} {c:colour} {m.plural:noun_at|place} .",
    "it was {mood.a} {h:hour} , so {hero.he} {e:deed|mood} {d:manner|mood} and {v:act|n} {x:number} {n.plural:noun_at|place} .",
    "{hero} {mood.wish} that {p:name} {s:surname} would {v.base:act|thing} the {thing} and {x:number} {n.plural:noun_at|place} .",
    "{t:time} {p:knows|friend} {e:deed|mood} {d:manner|mood} , since the {a:look|n} {n:noun_at|place} was {j:judgement|mood} .",
    "{hero.he} {i:move} {d:manner|mood} with {p:name} {s:surname} and {q:name} , {v.ing:act|n} {x:number} {c:colour} "
    "{n.plural:noun_at|place} .",
    "in {weather} {u:town} {p:name} {s:surname} {v:act|n} {x:number} {a:look|n} {n.plural:noun_at|place} {d:manner|mood} .",
    "{friend} asked : is the {thing} {a:look|thing} or {a.opposite} ? {hero} said {d:manner|mood} : {a} .",
]
LETTER = [
    "{t:time} i {v:act|n} {x:number} {a:look|n} {n.plural:noun_at|place} for {p:name} {s:surname} and {w:act|m} {b.a:look|m} "
    "{m:noun_at|place} .",
    "please bring {x:number} {c:colour} {n.plural:noun_at|place} , {y:number} {a:look|m} {m.plural:noun_at|place} and "
    "{p:name} {s:surname} .",
    "{p:knows|hero} {s:surname} {e:deed|mood} {d:manner|mood} when {q:name} {v:act|n} the {a:look|n} {n:noun_at|place} .",
    "i {mood.wish} that {p:knows|hero} {s:surname} would {v.base:act|n} my {c:colour} {n:noun_at|place} in {u:town} .",
    "our {a:look|n} {n:noun_at|place} and {x:number} {m.plural:noun_at|place} of {p:name} {s:surname} are {place.at} .",
    "on {y:weekday} {p:name} {s:surname} {i:move} {d:manner|mood} to {u:town} and {v:act|n} {x:number} {n.plural:noun_at|place} .",
    "the {thing} is {a:look|thing} , said {p:name} {s:surname} , and we {e:deed|mood} {d:manner|mood} .",
]
LESSON = [
    "{n.a:noun_at|place} is {n.a_kind} of {n.material} from {n.town} , {a:look|n} and {n.colour} .",
    "{p:name} {s:surname} , {p.a_job} , saw {x:number} {n.plural:noun_at|place} in {u:town} in {y:year} .",
    "{n.plural:noun_at|place} are sold in {n.month} and {m.plural:noun_at|place} in {m.month} for {x:price|n} and "
    "{y:price|m} coins .",
    "who {v:act|n} {x:number} {a:look|n} {n.plural:noun_at|place} in {y:year} ? {p:name} {s:surname} or {q:name} {r:surname} .",
    "{p:name} of {p.town} : born {x:day} {p.month} {y:year} , likes {p.colour} , plays the {p.instrument} , eats {p.dish} , "
    "has {n:number} {q:colour} toys and {p.his} {p.pet} .",
    "any {n.job} {v:act|n} {x:number} {c:colour} {n.plural:noun_at|place} {d:manner|mood} by {h:hour} .",
    "{x:number} {a:look|n} {n.plural:noun_at|place} , {y:number} {b:look|m} {m.plural:noun_at|place} and {z:number} {c:colour} "
    "{o.plural:noun_at|place} are {place.at} .",
    "{friend} asked : is the {thing} {a:look|thing} or {a.opposite} ? {hero} said {d:manner|mood} : {a} .",
]
MIDDLES = {"story": COMMON + STORY, "letter": COMMON + LETTER, "lesson": COMMON + LESSON}


@cache
def grammar() -> Grammar:
    """The grammar of all synthetic corpora, compiled once in a process."""
    genres = []
    for name, text in OPENINGS.items():
        opening = Block(text, world(), {})
        middles = [Block(middle, world(), opening.variables) for middle in MIDDLES[name]]
        closings = [Block(closing, world(), opening.variables) for closing in CLOSINGS[name]]
        genres.append(Genre(opening, middles, _uniform(len(middles)), closings, _uniform(len(closings))))
    return Grammar(genres, _uniform(len(genres)), Row((count, 1.0) for count in SENTENCES))


def _uniform(count: int) -> Row:
    return Row((i, 1.0) for i in range(count))
