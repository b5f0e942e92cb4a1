"""Probes from a folder and from the hub's rows: rendered alike, drawn by seed, refused with their place."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from paramalloc.data import hub_probes
from paramalloc.data.probes import Probe, ProbeTask
from paramalloc.errors import UserError
from paramalloc.evaluation.smallbench.loading import draw, load_tasks

ROWS: dict[str, dict[str, object]] = {
    "sst2": {"sentence": "a {odd} joy . ", "label": 1},
    "rte": {"sentence1": "It rains.", "sentence2": "It is wet.", "label": 0},
    "boolq": {"question": "is it wet", "passage": "Rain is wet.", "answer": True},
    "mrpc": {"sentence1": "One .", "sentence2": "Two .", "label": 0},
}
EXPECTED = (
    Probe(
        "sst2-0",
        "a {odd} joy . \nQuestion: Is this sentence positive or negative?\nAnswer:",
        (" negative", " positive"),
        1,
        "a {odd} joy . ",
    ),
    Probe(
        "rte-0",
        "It rains.\nQuestion: It is wet. True or False?\nAnswer:",
        (" True", " False"),
        0,
        "It rains.\nIt is wet.",
    ),
    Probe("boolq-0", "Rain is wet.\nQuestion: is it wet?\nAnswer:", (" no", " yes"), 1, "Rain is wet.\nis it wet"),
    Probe(
        "mrpc-0",
        "Sentence 1: One .\nSentence 2: Two .\nQuestion: Do both sentences mean the same thing?\nAnswer:",
        (" no", " yes"),
        0,
        "One .\nTwo .",
    ),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for task, row in ROWS.items():
        (tmp_path / f"{task}.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path


def made_up(count: int) -> ProbeTask:
    return ProbeTask("made", tuple(Probe(f"made-{i}", "Is it?", (" no", " yes"), 0, "") for i in range(count)))


def test_a_folder_and_the_hub_give_the_same_probes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = load_tasks(str(folder))
    assert [task.name for task in tasks] == list(ROWS)
    assert tuple(task.probes[0] for task in tasks) == EXPECTED
    on_hub = ROWS | {"boolq": {"question": "is it wet", "passage": "Rain is wet.", "idx": 0, "label": 1}}

    def load(source: hub_probes.PinnedDataset, config: str, split: str) -> list[dict[str, object]]:
        repository = "aps/super_glue" if config == "boolq" else "nyu-mll/glue"
        assert (source.repository, split) == (repository, "validation")
        return [on_hub[config]]

    monkeypatch.setattr(hub_probes.PinnedDataset, "load", load)
    assert load_tasks("hub") == tasks


def test_ids_count_rows_and_blank_lines_and_marks_do_no_harm(folder: Path) -> None:
    lines = [json.dumps({"sentence": f"s{i}\u2028", "label": i % 2}, ensure_ascii=False) for i in range(3)]
    (folder / "sst2.jsonl").write_text("\n\n".join(lines), encoding="utf-8-sig")
    probes = load_tasks(str(folder))[0].probes
    assert [(probe.id, probe.text, probe.answer) for probe in probes] == [
        (f"sst2-{i}", f"s{i}\u2028", i % 2) for i in range(3)
    ]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"sentence": "x", "label": 2}', "sst2.jsonl:2: got `label` 2; .*'negative'.*'positive'"),
        ('{"sentence": "x", "label": -1}', "sst2.jsonl:2: got `label` -1"),
        ('{"sentence": "x", "label": "1"}', "sst2.jsonl:2: got `label` '1'"),
        ('{"sentence": "x"}', "sst2.jsonl:2: got no `label`"),
        ('{"text": "x", "label": 1}', "sst2.jsonl:2: got no `sentence`; each row needs the texts sentence"),
        ('{"sentence": 3, "label": 1}', "sst2.jsonl:2: got `sentence` 3"),
        ('{"sentence": "x", "lab', "sst2.jsonl:2: got a line that is no JSON"),
        ('["x", 1]', "sst2.jsonl:2: got a JSON list"),
    ],
)
def test_a_bad_line_is_named(folder: Path, line: str, complaint: str) -> None:
    (folder / "sst2.jsonl").write_text(json.dumps(ROWS["sst2"]) + "\n" + line + "\n")
    with pytest.raises(UserError, match=complaint):
        load_tasks(str(folder))


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (Path.unlink, "evaluation.smallbench.source: got .* without a mrpc.jsonl; .*sst2.jsonl, rte.jsonl"),
        (lambda path: path.write_text("\n\n"), r"mrpc.jsonl: got no rows"),
        (lambda path: path.write_bytes(b'{"sentence1": "\xff"}'), r"mrpc.jsonl: got bytes that are not UTF-8"),
        (lambda path: (path.unlink(), path.mkdir()), r"mrpc.jsonl', which cannot be read"),
    ],
)
def test_a_bad_file_is_named(folder: Path, damage: Callable[[Path], object], complaint: str) -> None:
    damage(folder / "mrpc.jsonl")
    with pytest.raises(UserError, match=complaint):
        load_tasks(str(folder))


def test_a_draw_is_without_replacement_in_order_and_follows_the_seed() -> None:
    task = made_up(1000)
    drawn = draw(task, 200, seed=7)
    numbers = [int(probe.id.split("-")[1]) for probe in drawn.probes]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 200
    assert draw(task, 200, seed=7) == drawn
    assert 20 < len(set(drawn.probes) & set(draw(task, 200, seed=8).probes)) < 60  # 40 expected
    assert draw(task, 5000, seed=7) == task


def test_every_probe_is_as_likely_to_be_drawn() -> None:
    task = made_up(20)
    times = Counter(probe for seed in range(2000) for probe in draw(task, 5, seed).probes)
    assert min(times.values()) > 420  # of 500 expected, four standard deviations below
    assert max(times.values()) < 580


def test_leaving_one_out_replaces_only_that_one() -> None:
    task = made_up(300)
    drawn = set(draw(task, 100, seed=0).probes)
    gone = draw(task, 100, seed=0).probes[31]
    rest = ProbeTask(task.name, tuple(probe for probe in task.probes if probe != gone))
    again = set(draw(rest, 100, seed=0).probes)
    assert drawn - again == {gone}
    assert len(again) == 100


def test_the_real_development_sets(shared_data: Path) -> None:
    tasks = load_tasks(str(shared_data / "smallbench"))
    assert {task.name: len(task.probes) for task in tasks} == {"sst2": 872, "rte": 277, "boolq": 1000, "mrpc": 408}
    shares = {task.name: sum(probe.answer for probe in task.probes) / len(task.probes) for task in tasks}
    assert shares["sst2"] == pytest.approx(0.509, abs=0.001)  # 444 of 872 are positive
    assert shares["rte"] == pytest.approx(0.473, abs=0.001)  # 131 of 277 are not entailed
    assert shares["mrpc"] == pytest.approx(0.684, abs=0.001)  # 279 of 408 are paraphrases
