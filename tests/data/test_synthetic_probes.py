"""The built-in probes: balanced, mirrored, the same for a seed, and answered by the source itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest

from paramalloc.data.grammar import Genre
from paramalloc.data.synthetic import grammar
from paramalloc.data.synthetic_probes import synthetic_tasks
from paramalloc.data.world import world
from paramalloc.evaluation.smallbench.items import Probe, ProbeTask

TASKS = {task.name: task for task in synthetic_tasks(200, seed=3)}
each_task = pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
ENDINGS = {"entailment": " .", "yes_no": "", "paraphrase": " ."}  # what completes the sentence after the answer


def openings(probe: Probe) -> Iterator[tuple[Genre, int, dict[str, int]]]:
    """The genre that the context is of, where its opening ends, and what that opening says."""
    for genre in grammar().genres:
        values: dict[str, int] = {}
        read = genre.opening.read(probe.context, 0, values)
        if read is not None:
            yield genre, read[0], values


def can_follow(probe: Probe, choice: str) -> bool:
    """Whether a sentence of the source is the last one of the context with this choice."""
    ending = ENDINGS[probe.id.split("-")[0]]
    return any(
        block.read(probe.context[start:] + choice + ending, 0, dict(values)) is not None
        for genre, start, values in openings(probe)
        for block in genre.middles
    )


@each_task
def test_each_task_has_as_many_of_either_answer_and_choices_of_one_length(task: ProbeTask) -> None:
    assert Counter(probe.answer for probe in task.probes) == {0: 100, 1: 100}
    assert len({probe.id for probe in task.probes}) == 200
    assert all(len({len(choice.split()) for choice in probe.choices}) == 1 for probe in task.probes)
    assert all(choice.startswith(" ") for probe in task.probes for choice in probe.choices)


@each_task
def test_each_pair_of_choices_is_right_as_often_one_way_as_the_other(task: ProbeTask) -> None:
    """So whoever ignores the context, however well it knows the words, is right half of the time."""
    right: defaultdict[tuple[str, ...], Counter[int]] = defaultdict(Counter)
    for probe in task.probes:
        right[probe.choices][probe.answer] += 1
    assert all(count[0] == count[1] for count in right.values())


@pytest.mark.parametrize("name", ENDINGS)
def test_the_source_can_go_on_with_the_right_choice_and_never_with_the_wrong_one(name: str) -> None:
    for probe in TASKS[name].probes[:60]:
        assert can_follow(probe, probe.choices[probe.answer])
        assert not can_follow(probe, probe.choices[1 - probe.answer])


def test_a_manner_fits_the_mood_of_the_opening() -> None:
    verdicts = world().domains["mood"]["verdict"]
    for probe in TASKS["sentiment"].probes:
        ((_, _, values),) = openings(probe)
        assert verdicts[values["mood"]] == ("good", "bad")[probe.answer]


def test_a_seed_gives_the_same_probes_and_more_of_them_begin_with_the_fewer() -> None:
    fewer, other = synthetic_tasks(100, seed=3), synthetic_tasks(101, seed=4)
    for task, another in zip(fewer, other, strict=True):
        assert task.probes == TASKS[task.name].probes[:100]
        assert another.probes[:100] != task.probes
        assert len(another.probes) == 102
