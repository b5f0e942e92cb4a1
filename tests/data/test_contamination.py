"""What counts as contaminated, compared with a plain search, and that nothing hides at the seams of the stream."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from paramalloc.data import contamination as module
from paramalloc.data.contamination import (
    Contamination,
    count_by_task,
    drop_contaminated,
    find_contamination,
    probe_texts,
)
from paramalloc.data.probes import Probe, ProbeTask

LONG = "It was, as far as anyone can now tell, the very last time that the two of them ever met in Rome."
SHORT = "A joy, from start to finish!"


def plain_search(texts: Mapping[str, str], documents: Iterable[str]) -> Contamination:
    """The definition, word by word and without hashes."""

    def words(text: str) -> str:
        return " ".join(["", *re.findall(r"[a-z0-9]+", text.lower()), ""])

    read = [words(document) for document in documents]
    exact, by_run, boilerplate = set(), set(), set()
    for probe, text in texts.items():
        for line in map(words, text.split("\n")):
            row = line.split()
            if len(row) >= 5 and any(line in document for document in read):
                exact.add(probe)
            for start in range(len(row) - 12):
                run = " ".join(["", *row[start : start + 13], ""])
                found = sum(run in document for document in read)
                if found > 10:
                    boilerplate.add(run)
                elif found:
                    by_run.add(probe)
    return Contamination(frozenset(exact), frozenset(by_run), len(boilerplate))


def found_in(text: str, *documents: str) -> tuple[bool, bool]:
    """Is `text` there as a whole, and is a run of 13 of its words?"""
    found = find_contamination({"it": text}, documents)
    return "it" in found.exact, "it" in found.ngram


def test_case_punctuation_and_line_breaks_do_not_count() -> None:
    changed = (
        "so \u201cIT was as far\nas anyone can\u2014now\u2014tell the Very last time that the two of them met in rome"
    )
    assert found_in(LONG.replace("ever ", ""), changed) == (True, True)
    assert found_in(SHORT, "... a JOY from \u2018start\u2019 to finish?") == (True, False)
    assert found_in(SHORT, "a joyfrom start to finish", "a joy from start to finishing") == (False, False)


def test_thirteen_words_in_a_row_are_needed_and_enough() -> None:
    words = LONG.split()
    assert found_in(LONG, " ".join(words[4:17])) == (False, True)
    assert found_in(LONG, " ".join(words[4:16]), " ".join(words[5:17])) == (False, False)
    assert found_in(" ".join(words[:13]), LONG) == (True, True)
    assert found_in(" ".join(words[:12]), LONG) == (True, False)


def test_very_short_texts_prove_nothing() -> None:
    assert found_in("a joy from start to", SHORT) == (True, False)
    assert found_in("a joy from start", SHORT) == (False, False)


def test_any_line_of_a_probe_suffices_but_no_run_goes_across_lines() -> None:
    first, second = " ".join(LONG.split()[:10]), " ".join(LONG.split()[10:])
    assert found_in(f"something of no further interest\n{second}", LONG) == (True, False)
    assert found_in(f"w {first}\n{second} w", LONG) == (False, False)


def test_runs_in_many_documents_are_boilerplate_but_whole_texts_always_count() -> None:
    quote, whole = " ".join(LONG.split()[:13]), " ".join(LONG.split()[:14])
    texts = {"quotes": f"he said {quote}", "whole": whole}
    ten, eleven = (find_contamination(texts, [f"{whole} w{i}" for i in range(count)]) for count in (10, 11))
    assert (ten.exact, ten.ngram, ten.boilerplate_ngrams) == ({"whole"}, {"quotes", "whole"}, 0)
    assert (eleven.exact, eleven.ngram, eleven.boilerplate_ngrams) == ({"whole"}, set(), 2)
    repeated = find_contamination(texts, [" w ".join([whole] * 11)])
    assert repeated.ngram == {"quotes", "whole"}, "eleven times in one document is no boilerplate"


@pytest.mark.parametrize("batch_characters", [40, 333, 1 << 19])
def test_equals_a_plain_search_wherever_the_stream_is_cut(
    batch_characters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH_CHARACTERS", batch_characters)
    dice = random.Random(5)
    sizes = [0, 3, 60, 2500, *(dice.randrange(60) for _ in range(80))]
    documents = [" ".join(dice.choices(["yes", "no", "oh"], [9, 9, 1], k=size)) for size in sizes]
    texts = {
        f"{i}": "\n".join(" ".join(dice.choices(["yes", "no"], k=dice.randrange(30))) for _ in range(2))
        for i in range(150)
    }
    texts |= {f"cut-{i}": documents[3][i : i + 90].strip() for i in range(0, 2000, 100)}
    found = find_contamination(texts, iter(documents))
    assert found == plain_search(texts, documents)
    assert min(map(len, (found.exact, found.ngram - found.exact, texts.keys() - found.dropped))) > 5


def test_nothing_to_look_for_or_in() -> None:
    nothing = Contamination(frozenset(), frozenset(), 0)
    assert find_contamination({}, [LONG]) == find_contamination({"it": LONG}, []) == nothing
    assert find_contamination({"it": " !\n"}, ["", " "]) == nothing


def test_tasks_lose_what_was_found_and_counts_say_so() -> None:
    def task(name: str, *texts: str) -> ProbeTask:
        return ProbeTask(name, tuple(Probe(f"{name}-{i}", "", (" a", " b"), 0, text) for i, text in enumerate(texts)))

    tasks = (task("one", LONG, SHORT, "something else altogether, truly"), task("two", "nothing that was ever read"))
    found = find_contamination(probe_texts(tasks), [SHORT, " ".join(LONG.split()[2:])])
    assert count_by_task(tasks, found) == {
        "one": {"checked": 3, "exact": 1, "ngram": 1, "dropped": 2},
        "two": {"checked": 1, "exact": 0, "ngram": 0, "dropped": 0},
    }
    kept = drop_contaminated(tasks, found)
    assert [[probe.id for probe in task.probes] for task in kept] == [["one-2"], ["two-0"]]


def test_probes_planted_in_novels_are_found_and_no_others(shared_data: Path) -> None:
    dice = random.Random(0)
    lines = (shared_data / "smallbench" / "boolq.jsonl").read_text(encoding="utf-8").splitlines()[:300]
    texts = {f"{i}": re.sub(r'[{}"]', "", line) for i, line in enumerate(lines)}
    planted = dice.sample(sorted(texts), 20)
    documents = [path.read_text(encoding="utf-8") for path in sorted((shared_data / "novels").iterdir())[:3]]
    for key in planted:
        number = dice.randrange(len(documents))
        cut = documents[number].index(" ", dice.randrange(len(documents[number]) // 2))
        documents[number] = f"{documents[number][:cut]} {texts[key].upper()} {documents[number][cut:]}"
    found = find_contamination(texts, documents)
    assert found.exact == found.ngram == set(planted)
