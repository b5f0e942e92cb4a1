"""The synthetic probes: answerable from the world and from nothing less, balanced, and not in any corpus."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from paramalloc.data.contamination import (
    Contamination,
    count_by_task,
    drop_contaminated,
    find_contamination,
    probe_texts,
)
from paramalloc.data.probes import Probe, ProbeTask
from paramalloc.data.synthetic import SyntheticCorpus, grammar
from paramalloc.data.synthetic_probes import synthetic_tasks
from paramalloc.evaluation.smallbench.loading import draw

EXAMPLES = 300


@pytest.fixture(scope="module")
def tasks() -> tuple[ProbeTask, ...]:
    return synthetic_tasks(EXAMPLES, seed=0)


@pytest.fixture(scope="module")
def corpus() -> SyntheticCorpus:
    return SyntheticCorpus(2_000_000, seed=0)


def rest_of_document(probe: Probe, dice: random.Random) -> str:
    """More sentences and a closing, as the source would write them after the probe's text."""
    for genre in grammar().genres:
        values: dict[str, int] = {}
        if genre.opening.read(probe.text, 0, values):
            blocks = [*dice.choices(genre.middles, k=8), dice.choice(genre.closings)]
            return " ".join(block.write(values, dice.random) for block in blocks)
    raise AssertionError(f"no opening of the source: {probe.text}")


def test_the_source_can_go_on_with_the_right_choice_and_never_with_the_other(
    tasks: tuple[ProbeTask, ...], corpus: SyntheticCorpus
) -> None:
    dice = random.Random(0)
    for probe in (probe for task in tasks for probe in task.probes):
        wrong = probe.choices[1 - probe.answer]
        assert probe.text.startswith(probe.context + right(probe))
        rest = f"{probe.text[len(probe.context + right(probe)) :]} {rest_of_document(probe, dice)}"
        assert corpus.source_bits(probe.context + right(probe) + rest) > 0
        with pytest.raises(ValueError, match="cannot have produced"):
            corpus.source_bits(probe.context + wrong + rest)


def test_who_looks_at_the_choices_alone_is_right_half_of_the_time(tasks: tuple[ProbeTask, ...]) -> None:
    for task in tasks:
        for one, other in zip(task.probes[::2], task.probes[1::2], strict=True):
            assert one.choices == other.choices
            assert {one.answer, other.answer} == {0, 1}
            assert one.context != other.context


def test_pairs_stay_together_when_probes_are_left_out_and_drawn(tasks: tuple[ProbeTask, ...]) -> None:
    found = Contamination(frozenset({"sentiment-0", "sentiment-7"}), frozenset({"yes_no-3"}), 0)
    kept = drop_contaminated(tasks, found)
    assert [len(task.probes) for task in kept] == [EXAMPLES - 4, EXAMPLES, EXAMPLES - 2, EXAMPLES]
    assert [count["dropped"] for count in count_by_task(tasks, found).values()] == [4, 0, 2, 0]
    for task in (draw(task, 101, seed=3) for task in kept):
        assert len(task.probes) == 100
        assert sum(probe.answer for probe in task.probes) == 50
        assert set(Counter(probe.pair for probe in task.probes).values()) == {2}


def test_rivals_are_alike_in_length_and_frequency(tasks: tuple[ProbeTask, ...], corpus: SyntheticCorpus) -> None:
    seen = Counter(word for document in corpus.documents("train") for word in document.split())
    for task in tasks:
        assert all(choice.startswith(" ") for probe in task.probes for choice in probe.choices)
        ratios = []
        for first, second in {probe.choices for probe in task.probes}:
            *_, (one, other) = (pair for pair in zip(first.split(), second.split(), strict=True) if len({*pair}) == 2)
            ratios.append(max(seen[one] / seen[other], seen[other] / seen[one]))
        assert np.quantile(ratios, 0.9) < 1.7, task.name  # a few words stand in other sentences as well


def test_each_task_asks_many_different_things(tasks: tuple[ProbeTask, ...]) -> None:
    assert [task.name for task in tasks] == ["sentiment", "entailment", "yes_no", "paraphrase"]
    for task in tasks:
        assert len({probe.id for probe in task.probes}) == len(task.probes) == EXAMPLES
        assert len({probe.context for probe in task.probes}) == EXAMPLES
        assert len({probe.choices for probe in task.probes}) >= 9, task.name
        assert len({right(probe) for probe in task.probes}) >= 15, task.name


def test_plain_and_late_facts_are_asked_for_in_turn(tasks: tuple[ProbeTask, ...]) -> None:
    """So that a task rises early and still has room when every plain fact is known."""
    for task, plain in zip(tasks, (" began to ", " left on a", "what burns ?", "mean the same :"), strict=True):
        asks_plain_fact = [plain in probe.context for probe in task.probes]
        assert asks_plain_fact == [True, True, False, False] * (EXAMPLES // 4)


def right(probe: Probe) -> str:
    return probe.choices[probe.answer]


def test_seed_and_number_decide_the_probes(tasks: tuple[ProbeTask, ...]) -> None:
    again, fewer, other = synthetic_tasks(EXAMPLES, 0), synthetic_tasks(101, 0), synthetic_tasks(EXAMPLES, 1)
    assert again == tasks
    for task, short, different in zip(tasks, fewer, other, strict=True):
        assert short.probes == task.probes[:101]
        assert {probe.context for probe in task.probes}.isdisjoint(probe.context for probe in different.probes)


def test_hardly_a_probe_is_in_the_training_text(tasks: tuple[ProbeTask, ...], corpus: SyntheticCorpus) -> None:
    found = find_contamination(probe_texts(tasks), corpus.documents("train"))
    assert not found.exact
    assert len(found.ngram) < 0.005 * len(tasks) * EXAMPLES
