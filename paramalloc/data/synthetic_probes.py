"""Four zero-shot probes in the language of the built-in corpus, whose answers follow from its world.

sentiment: how somebody does a thing fits the mood of the text. entailment: of what kind a thing is. yes_no: on which
side of an opposition a thing is (`is it true that the ... is big ?`). paraphrase: which word means the same.

Always holds: a context is an opening and a sentence that the corpus itself could hold, up to the answer; the right
choice could follow in the corpus and the wrong one never does there. Probes come in mirrored pairs with the same two
choices, one right each time, so who ignores the context is right half of the time. The same seed gives the same
probes; more examples begin with the fewer.

    tasks = synthetic_tasks(500, seed=0)
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from paramalloc.data import lexicon
from paramalloc.data.grammar import PLAIN, Block, Genre
from paramalloc.data.synthetic import grammar
from paramalloc.data.world import world
from paramalloc.evaluation.smallbench.items import Probe, ProbeTask

Pairs = list[tuple[str, str]]
_SYNONYM_PAIRS = 10  # small models learn the commonest synonyms first
_GROUP_WORDS = 4  # a word, its synonym, its opposite and that one's synonym


@dataclass(frozen=True)
class _Form:
    """Sentences of the corpus that end in an answer: how their templates begin, and how many words lie where."""

    begins: str
    context_words: int
    answer_words: int


_FORMS = {
    "sentiment": _Form("{p:knows|friend} {s:surname} {e:deed|mood} {d:manner|mood}", 3, 1),
    "entailment": _Form("{p:name} {s:surname} {v:act|n} {x:number} {n.plural:met|place} , so", 9, 2),
    "yes_no": _Form("is it true that the {n:met|place}", 12, 4),
    "paraphrase": _Form("the {n:met|place} of {p:name} {s:surname} is {a:look|n} , in other words", 11, 1),
}


def synthetic_tasks(examples: int, seed: int) -> tuple[ProbeTask, ...]:
    """The four tasks with `examples` probes each (an even number of them: one more where it is odd)."""
    pairs = {
        "sentiment": _manner_pairs(),
        "entailment": _kind_pairs(),
        "yes_no": _yes_no_pairs(),
        "paraphrase": _synonym_pairs(),
    }
    return tuple(ProbeTask(name, tuple(_probes(name, pairs[name], examples, seed))) for name in _FORMS)


def _probes(task: str, pairs: Pairs, examples: int, seed: int) -> Iterator[Probe]:
    """Whenever a text with an answer meets an earlier one with the answer's partner, both become probes."""
    pair_of = {answer: pair for pair in pairs for answer in pair}
    waiting: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    made = 0
    for context, sentence, answer in _texts(_FORMS[task], random.Random(f"paramalloc {task} {seed}")):
        if made >= examples:
            return
        if answer not in pair_of:
            continue
        choices = pair_of[answer]
        partner = choices[1 - choices.index(answer)]
        if not waiting[partner]:
            waiting[answer].append((context, sentence))
            continue
        earlier = waiting[partner].pop(0)
        for (text, said), right in ((earlier, partner), ((context, sentence), answer)):
            yield Probe(f"{task}-{made}", text, choices, choices.index(right), said + right)
            made += 1


def _texts(form: _Form, dice: random.Random) -> Iterator[tuple[str, str, str]]:
    """Endless contexts, each with its last sentence (up to the answer) and its right answer."""
    blocks = _blocks(form)
    while True:
        genre, block = dice.choice(blocks)
        values: dict[str, int] = {}
        opening = genre.opening.write(values, dice.random)
        words = block.write(values, dice.random).split(" ")
        sentence = " ".join(words[: form.context_words])
        answer = words[form.context_words : form.context_words + form.answer_words]
        yield f"{opening} {sentence}", sentence, "".join(f" {word}" for word in answer)


def _blocks(form: _Form) -> list[tuple[Genre, Block]]:
    return [(genre, b) for genre in grammar().genres for b in genre.middles if b.text.startswith(form.begins)]


def _manner_pairs() -> Pairs:
    """A kind manner and an unkind one."""
    return [(f" {good}", f" {bad}") for good, bad in zip(lexicon.GOOD_MANNERS, lexicon.BAD_MANNERS, strict=True)]


def _kind_pairs() -> Pairs:
    """The kinds of things, two and two."""
    kinds = [f" {kind}" for kind in dict.fromkeys(world().domains["noun"]["a_kind"])]
    return list(zip(kinds[::2], kinds[1::2], strict=False))


def _yes_no_pairs() -> Pairs:
    """For each adjective that may be asked for: no, with its opposite, and yes, with itself."""
    adjectives = world().domains["adjective"]
    return [
        (f" no , {opposite} .", f" yes , {word} .")
        for word, opposite in zip(adjectives[PLAIN], adjectives["opposite"], strict=True)
    ]


def _synonym_pairs() -> Pairs:
    """Synonyms of the commonest adjectives, each beside that of one about as common with another meaning."""
    synonyms = world().domains["adjective"]["synonym"]
    frequency = _frequencies(_FORMS["paraphrase"], "a")
    ranked = sorted(range(len(synonyms)), key=lambda value: (-frequency[value], value))
    pairs: Pairs = []
    while len(pairs) < _SYNONYM_PAIRS:
        first = ranked.pop(0)
        second = next(value for value in ranked if value // _GROUP_WORDS != first // _GROUP_WORDS)
        ranked.remove(second)
        pairs.append((f" {synonyms[first]}", f" {synonyms[second]}"))
    return pairs


def _frequencies(form: _Form, variable: str) -> np.ndarray:
    """How likely each value of a sentence's variable is, (values,), all sentences of the form together."""
    total: np.ndarray | float = 0.0
    for genre, block in _blocks(form):
        marginals: dict[str, np.ndarray] = {}
        genre.opening.expected(marginals)
        block.expected(marginals)
        total = total + marginals[variable]
    return np.asarray(total)
