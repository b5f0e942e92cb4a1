"""Zero-shot probes of the synthetic world: tone, kinds of things, yes or no, and synonyms, two choices each.

Each task asks by turns for one of a few plain facts, which a small model knows after some hundred thousand tokens,
and for one of many, which takes it millions; so a score rises early and has room left.

A probe is the beginning of a document that the source might have written: its opening, and a sentence cut before the
word that follows from what was said. The source itself could go on with one of the two choices, never with the other.

Always holds: probes come in mirrored pairs, two contexts with the same two choices, of which one's right answer is
the other's wrong one; so a model that looks at the choices alone is right half of the time and has an AUROC of 0.5
and a mean margin of 0, whatever it prefers. The rivals are about equally frequent and have equally many words. The
probes depend on `examples` and `seed` alone, a smaller number is the beginning of a larger one, and their world is
that of every corpus seed.
"""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from paramalloc.data import lexicon
from paramalloc.data.grammar import Block, Genre, Random
from paramalloc.data.probes import Probe, ProbeTask
from paramalloc.data.synthetic import OPENINGS, grammar

# Not stories: who a hero is and meets fills 13 words in a row that come again in a corpus of a few megabytes, so that
# the check for training text would take out some of their probes.
_GENRES = ("letter", "lesson")


@dataclass(frozen=True)
class _Question:
    """What is asked: how templates go on before the answer, the answer itself, and which answers may be rivals.

    Each of `endings` is a pair of consecutive parts of a sentence's template; the second one, with a single slot, is
    the answer.
    """

    endings: tuple[tuple[str, str], ...]
    may_be_rivals: Callable[[str, str], bool]


def synthetic_tasks(examples: int, seed: int) -> tuple[ProbeTask, ...]:
    """The four tasks, `examples` probes each: sentiment, entailment, yes_no, paraphrase.

    `text` of a probe is the opening and the whole sentence, right answer included.
    """
    return tuple(ProbeTask(name, tuple(islice(_probes(name, seed), examples))) for name in _QUESTIONS)


def _any_other(one: str, other: str) -> bool:
    return True


def _opposite_tones(one: str, other: str) -> bool:
    """Of a good and a bad mood; plain manners, such as `slowly`, tell nothing and have no rival."""
    return any(a in lexicon.GOOD_MANNERS and b in lexicon.BAD_MANNERS for a, b in ((one, other), (other, one)))


def _same_adjective(one: str, other: str) -> bool:
    return one.split(" , ")[1] == other.split(" , ")[1]


def _same_tone_not_synonyms(one: str, other: str) -> bool:
    for words in (lexicon.GOOD_WORDS, lexicon.BAD_WORDS):
        if one in words and other in words:
            return words.index(one) // 2 != words.index(other) // 2
    return False


def _unrelated_adjectives(one: str, other: str) -> bool:
    """Neither synonyms nor opposites; both plain words or both their less frequent synonyms."""
    groups = [next(group for group in lexicon.ADJECTIVES if word in group) for word in (one, other)]
    return groups[0] != groups[1] and groups[0].index(one) % 2 == groups[1].index(other) % 2


# Each task asks in turn for one of a few plain facts, learnt early, and for one of many facts, learnt late.
_QUESTIONS = {
    "sentiment": (
        # "... Hector began to sob" -> "sadly", not "gladly"
        _Question((("{friend} began to {e.base:deed|mood}", "{mood.tone}"),), _any_other),
        # "... wept" -> "bitterly", not "merrily"
        _Question((("{e:deed|mood}", "{d:manner|mood}"),), _opposite_tones),
    ),
    "entailment": (
        # "... Ivy Linman left on an October" -> "autumn", not "spring"
        _Question((("left on {u.a:month}", "{u.season}"),), _any_other),
        # "a carrot is" -> "a vegetable", not "a garment"
        _Question((("{n.a:met|place} is", "{n.a_kind}"),), _any_other),
    ),
    "yes_no": (
        # "what burns ? copper" -> "no", not "yes"
        _Question((("what burns ? {y:material}", "{y.burns}"),), _any_other),
        # "the hat of Ada Alton is new ?" -> "yes , new .", not "no , new ." (which "... is old ?" has)
        _Question((("is {a:look|n} ?", "yes , {a} ."), ("is {a.opposite:look|n} ?", "no , {a} .")), _same_adjective),
    ),
    "paraphrase": (
        # "words that mean the same : excellent" -> "good", not "pleasing"
        _Question((("mean the same : {j:judgement|mood}", "{j.synonym}"),), _same_tone_not_synonyms),
        # "the hat of Ada Alton is new , in other words" -> "modern", not "heavy"
        _Question((("is {a:look|n} , in other words", "{a.synonym}"),), _unrelated_adjectives),
    ),
}


@dataclass(frozen=True)
class _Cut:
    """A document's opening and second sentence, and where in the sentence the answer stands."""

    before: str
    answer: str
    after: str

    def probe(self, task: str, number: int, choices: tuple[str, str]) -> Probe:
        return Probe(
            id=f"{task}-{number}",
            context=self.before,
            choices=(f" {choices[0]}", f" {choices[1]}"),
            answer=choices.index(self.answer),
            text=" ".join(part for part in (self.before, self.answer, self.after) if part),
            pair=f"{task}-pair-{number // 2}",
        )


class _Template:
    """One sentence of a genre that asks one question."""

    def __init__(self, genre: Genre, block: Block, before: str, answer: str) -> None:
        self._genre, self._block, self._answer = genre, block, answer
        asked = block.text[: block.text.index(f"{before} {answer}") + len(before)]
        self._slot = block.slots[asked.count("{")]  # the answer's
        slots = iter(block.slots)
        words = [next(slots).words if "{" in token else 1 for token in f"{asked} {answer}".split(" ")]
        self._end = sum(words)
        self._start = self._end - sum(words[-len(answer.split(" ")) :])

    def draw(self, dice: Random) -> _Cut:
        values: dict[str, int] = {}
        opening = self._genre.opening.write(values, dice)
        words = self._block.write(values, dice).split(" ")
        sentence = (words[: self._start], words[self._start : self._end], words[self._end :])
        before, answer, after = (" ".join(part) for part in sentence)
        return _Cut(f"{opening} {before}", answer, after)

    def probabilities(self) -> Iterator[tuple[str, float]]:
        """The answers that this sentence can have, and how likely each is, from the source's tables."""
        marginals: dict[str, np.ndarray] = {}
        self._genre.opening.expected(marginals)
        self._block.expected(marginals)
        slot = self._answer[self._answer.index("{") : self._answer.index("}") + 1]
        for value, text in enumerate(self._slot.strings):
            yield self._answer.replace(slot, text), float(marginals[self._slot.variable][value])


def _probes(name: str, seed: int) -> Iterator[Probe]:
    dice = random.Random(f"paramalloc probes {seed} {name}").random
    in_turn = zip(*(_pairs(question, dice) for question in _QUESTIONS[name]), strict=True)
    cuts = chain.from_iterable(pair for pairs in in_turn for pair in pairs)
    for number, (cut, rival) in enumerate(cuts):
        one, other = sorted((cut.answer, rival))
        yield cut.probe(name, number, (one, other))


def _pairs(question: _Question, dice: Random) -> Iterator[tuple[tuple[_Cut, str], tuple[_Cut, str]]]:
    """Mirrored pairs of cuts, each cut with its wrong choice; endless."""
    templates = [
        _Template(genre, block, *ending)
        for kind, genre in zip(OPENINGS, grammar().genres, strict=True)
        if kind in _GENRES
        for block in genre.middles
        for ending in question.endings
        if " ".join(ending) in block.text
    ]
    rivals = _rivals(chain.from_iterable(template.probabilities() for template in templates), question.may_be_rivals)
    waiting: defaultdict[str, deque[_Cut]] = defaultdict(deque)
    while True:
        cut = templates[int(dice() * len(templates))].draw(dice)
        if cut.answer not in rivals:
            continue
        partners = waiting[rivals[cut.answer]]
        if partners:
            partner = partners.popleft()
            yield (partner, cut.answer), (cut, partner.answer)
        else:
            waiting[cut.answer].append(cut)


def _rivals(probabilities: Iterable[tuple[str, float]], may_be_rivals: Callable[[str, str], bool]) -> dict[str, str]:
    """Each answer's wrong alternative: of those that may be, the next in frequency, beginning with the likeliest."""
    frequency: defaultdict[str, float] = defaultdict(float)
    for answer, probability in probabilities:
        frequency[answer] += probability
    waiting = sorted(frequency, key=lambda answer: (-frequency[answer], answer))
    rivals: dict[str, str] = {}
    while waiting:
        answer = waiting.pop(0)
        rival = next((other for other in waiting if may_be_rivals(answer, other)), None)
        if rival is not None:
            waiting.remove(rival)
            rivals |= {answer: rival, rival: answer}
    return rivals
