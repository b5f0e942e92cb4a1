"""Recorded curves from tables: units, gaps, runs that diverged or were cut short, and every way to get it wrong."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from paramalloc.errors import UserError
from paramalloc.files import write_json, write_jsonl
from paramalloc.results import AUDIT, JUDGED_BY, RANKING, SCHEMA_VERSION, ResultsFolder
from paramalloc.sweep.rules.recorded_curves import Recording, TokenScale, read_recording


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "curves.csv"


def read(path: Path, text: str, scale: TokenScale | None = None) -> Recording:
    path.write_text(text)
    return read_recording(path, "val", scale or TokenScale())


def points(recording: Recording) -> dict[str, list[tuple[int, float]]]:
    return {run.name: list(run.points) for group in recording.groups for run in group}


def test_tokens_and_perplexities_are_taken_as_they_are_in_any_order_of_rows(path: Path) -> None:
    found = points(read(path, "run,tokens,ppl,note\na,200,8,x\na,100,9,\nb,200,7,\na,200,7.5,again\n"))
    assert found == {"a": [(100, 9.0), (200, 7.5)], "b": [(200, 7.0)]}


def test_losses_become_perplexities_and_steps_tokens(path: Path) -> None:
    text = "run,split,step,total_steps,loss\na,val,0,20,11\na,val,10,20,3\na,train,15,20,9\na,val,20,20,2\n"
    default = read(path, text)
    assert points(default)["a"] == [(2_500_000, pytest.approx(math.exp(3))), (5_000_000, pytest.approx(math.exp(2)))]
    assert default.budgets_tokens == (5_000_000,)
    assert [at for at, _ in points(read(path, text, TokenScale(tokens_per_step=64)))["a"]] == [640, 1280]
    assert [at for at, _ in points(read(path, text, TokenScale(budget_tokens=400)))["a"]] == [200, 400]


def test_a_missing_value_is_passed_over_and_one_that_is_not_finite_ends_the_run(path: Path) -> None:
    text = "run,step,total_steps,loss\na,1,4,3\na,2,4,\na,4,4,2\nb,1,4,3\nb,2,4,nan\nb,3,4,2\nc,1,4,900\n"
    found = points(read(path, text, TokenScale(tokens_per_step=1)))
    assert [at for at, _ in found["a"]] == [1, 4]
    assert found["b"][1:] == [(2, math.inf)]
    assert found["c"] == [(1, math.inf)]


def test_runs_are_grouped_with_those_of_the_same_budget_and_the_cut_short_left_out(path: Path) -> None:
    rows = [("a", 1000, 1000), ("b", 1009, 1009), ("long", 2000, 2000), ("cut", 1500, 2000)]
    text = "run,tokens,total_tokens,ppl\n" + "".join(f"{name},{at},{end},5\n" for name, at, end in rows)
    recording = read(path, text)
    assert [[run.name for run in group] for group in recording.groups] == [["a", "b"], ["long"]]
    assert recording.budgets_tokens == (1000, 2000)
    assert recording.left_out == {"cut short of the budget": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "an empty file"),
        ("run,tokens\n", "the columns run, tokens; needed are"),
        ("run,tokens,ppl\n", "no run that ended"),
        ("run,tokens,total_tokens,ppl\na,1,9,5\n", "no run that ended \\(1 cut short"),
        ("run,tokens,ppl\na,1,5\na,2,five\n", "line 3: got ppl 'five'"),
        ("run,tokens,ppl\na,inf,5\n", "line 2: got tokens inf"),
        ("run,tokens,ppl\na\n", "no run that ended"),
    ],
)
def test_what_cannot_be_read_is_named(path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read(path, text)


def test_a_results_folder_gives_the_ranking_runs_that_ended_and_its_baseline(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    folder.sweep.write_text("{name: s, experiments: [{name: base}, {name: wide, glu_expansion: 4}]}")
    write_json(folder.plan, {})
    ends = {"base": "finished", "wide@lr1": "diverged", "wide@lr2": "killed", "wide@lr3": "finished"}
    ends |= {"wide@lr4": "failed"}
    for name, status in ends.items():
        trial = folder.trial(RANKING, name)
        about = {"schema_version": SCHEMA_VERSION, "status": status, "seed": 0, "tokens": 30}
        write_json(trial.metrics, about | {"variant": name.split("@")[0]})
        write_jsonl(trial.history, [{"tokens": 10, JUDGED_BY: 9.0}, {"tokens": 20, JUDGED_BY: 8.0}])
    recording = read_recording(tmp_path, "val", TokenScale())
    assert points(recording) == {
        "base": [(10, 9.0), (20, 8.0)],
        "wide@lr1": [(10, 9.0), (20, 8.0), (30, math.inf)],
        "wide@lr3": [(10, 9.0), (20, 8.0)],
    }
    assert recording.baselines == {"base"}
    assert recording.budgets_tokens == (5_000_000,)
    assert recording.left_out == {"killed by a rule": 1, "failed or unfinished": 1}


def test_a_killed_trial_that_was_audited_has_the_curve_of_its_audit(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    folder.sweep.write_text("{name: s, experiments: [{name: base}, {name: wide, glu_expansion: 4}, {name: slow}]}")
    write_json(folder.plan, {})
    about = {"schema_version": SCHEMA_VERSION, "seed": 0, "tokens": 20}
    ends = {(RANKING, "base"): "finished", (RANKING, "wide"): "killed", (RANKING, "slow"): "killed"}
    for (stage, name), status in (ends | {(AUDIT, "wide"): "finished"}).items():
        trial = folder.trial(stage, name)
        write_json(trial.metrics, about | {"status": status, "variant": name})
        whole = [{"tokens": 10, JUDGED_BY: 9.0}, {"tokens": 20, JUDGED_BY: 8.0}]
        write_jsonl(trial.history, whole[: 1 if status == "killed" else 2])
    write_jsonl(folder.decisions, [{"decision": "audit", "of_stage": RANKING, "trial": "wide", "stage": AUDIT}])
    recording = read_recording(tmp_path, "val", TokenScale())
    assert points(recording) == {key: [(10, 9.0), (20, 8.0)] for key in ("base", "wide")}
    assert recording.left_out == {"killed by a rule": 1}


def test_the_stages_of_a_runbook_are_groups_with_a_baseline_each(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    stages = {"embed": ["base", "thin"], "glu": ["same", "wide"]}
    experiments = {"base": "", "thin": ", embedding_ratio: 0.25", "same": "", "wide": ", glu_expansion: 4"}
    listed = [f"{{name: {name}{more}}}" for name, more in experiments.items()]
    folder.sweep.write_text(
        f"{{name: s, stages: [{{name: embed, experiments: [{', '.join(listed[:2])}]}}, "
        f"{{name: glu, builds_on: embed, experiments: [{', '.join(listed[2:])}]}}]}}"
    )
    write_json(folder.plan, {"stages": [{"name": stage, "baseline": names[0]} for stage, names in stages.items()]})
    for stage, names in stages.items():
        for name in names:
            trial = folder.trial(stage, name)
            about = {"schema_version": SCHEMA_VERSION, "status": "finished", "seed": 0, "tokens": 10, "variant": name}
            write_json(trial.metrics, about)
            write_jsonl(trial.history, [{"tokens": 10, JUDGED_BY: 9.0}])
    recording = read_recording(tmp_path, "val", TokenScale())
    assert [[run.name for run in group] for group in recording.groups] == list(stages.values())
    assert recording.baselines == {"base", "same"}
    assert recording.budgets_tokens == (5_000_000, 5_000_000)


def test_a_missing_file_bytes_and_a_folder_of_something_else_are_named(path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_recording(path, "val", TokenScale())
    path.write_bytes(b"run,tokens,ppl\n\xff\xfe\n")
    with pytest.raises(UserError, match="UTF-8"):
        read_recording(path, "val", TokenScale())
    with pytest.raises(UserError, match=r"no sweep\.yaml"):
        read_recording(path.parent, "val", TokenScale())


def test_a_scale_that_contradicts_the_file_is_refused(path: Path) -> None:
    with pytest.raises(UserError, match="leave the tokens of a step out"):
        read(path, "run,tokens,ppl\na,1,5\n", TokenScale(tokens_per_step=2))
    with pytest.raises(UserError, match="leave the scale out"):
        read_recording(path.parent, "val", TokenScale(budget_tokens=2))
