"""Reading a results folder: what is there, what is not there yet, and what is no results folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paramalloc.errors import UserError
from paramalloc.files import read_json, write_json
from paramalloc.report.load import load_results
from paramalloc.results import FINALISTS, RANKING, ResultsFolder


def test_trials_come_by_stage_then_variant_with_the_baseline_first_then_seed(embed_sweep: Any) -> None:
    names = [(trial.stage, trial.name) for trial in load_results(embed_sweep.folder).trials]
    ranking = [(RANKING, name) for name in ("emb35", "emb25", "emb45", "emb15")]
    assert names == ranking + [(FINALISTS, f"{v}-seed{seed}") for v in ("emb35", "emb25") for seed in range(3)]


def test_a_trial_without_metrics_is_unfinished_and_stands_where_its_history_ends(
    new_sweep: Callable[..., Any], shares: list[dict[str, Any]]
) -> None:
    sweep = new_sweep(shares)
    sweep.begin()
    sweep.trial(RANKING, "emb25", final_ppl=300.0, status="unfinished", until_tokens=1_000_000)
    sweep.start(RANKING, "emb45", "emb45")
    sweep.folder.trial(RANKING, "emb45").path.mkdir(parents=True)
    first, second = load_results(sweep.folder).trials
    assert (first.name, first.variant, first.status, first.tokens) == ("emb25", "emb25", "unfinished", 1_000_000)
    assert (second.name, second.tokens, second.last_evaluation) == ("emb45", 0, None)


def test_the_made_up_trials_of_these_tests_are_like_real_ones(embed_sweep: Any) -> None:
    from paramalloc.plan import make_plan
    from paramalloc.sweep.trials.metrics import Outcome, trial_metrics
    from paramalloc.sweep.trials.tasks import ranking_tasks

    plan = make_plan(embed_sweep.config)
    (task, *_), token_set = ranking_tasks(plan.stages[0], {}), SimpleNamespace(tokenizer_hash="", train=[0])
    data: Any = SimpleNamespace(token_sets={16_000: token_set})
    versions = dict.fromkeys(("git_sha", "torch_version", "ray_version"))
    outcome = Outcome("killed", 0, None, None, None, None, 0.0, None, 0, None)
    real = trial_metrics(embed_sweep.config, task, plan.baseline, data, outcome, versions)
    assert list(read_json(embed_sweep.folder.trial(RANKING, "emb35").metrics)) == list(real)


def test_another_folder_is_refused_with_advice(tmp_path: Path) -> None:
    for folder, got in ((tmp_path, r"no sweep\.yaml in it"), (tmp_path / "nowhere", "no such folder")):
        with pytest.raises(UserError, match=f"got {got}; give the results folder of a sweep"):
            load_results(ResultsFolder(folder))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text('{"status": "fini'), "metrics.json: got no valid JSON"),
        (lambda path: path.write_text("[]"), "metrics.json: got a list"),
        (lambda path: write_json(path, read_json(path) | {"schema_version": 99}), "schema_version 99; this program"),
    ],
)
def test_a_damaged_file_is_named(
    embed_sweep: Any, tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    copy = ResultsFolder(tmp_path / "copy")
    shutil.copytree(embed_sweep.folder.root, copy.root)
    damage(copy.trial(RANKING, "emb25").metrics)
    with pytest.raises(UserError, match=message):
        load_results(copy)


def test_a_bill_of_another_version_is_refused(embed_sweep: Any, tmp_path: Path) -> None:
    copy = ResultsFolder(tmp_path / "copy")
    shutil.copytree(embed_sweep.folder.root, copy.root)
    write_json(copy.cost_summary, read_json(copy.cost_summary) | {"schema_version": 2})
    with pytest.raises(UserError, match=r"COST_SUMMARY\.json: got schema_version 2; this program reads 3"):
        load_results(copy)


def test_a_ledger_row_that_cannot_be_right_is_a_mistake_in_its_file(embed_sweep: Any, tmp_path: Path) -> None:
    copy = ResultsFolder(tmp_path / "copy")
    shutil.copytree(embed_sweep.folder.root, copy.root)
    with copy.events.open("a") as stream:
        stream.write('{"event": "trial_start", "time": 1}\n')
    with pytest.raises(UserError, match=r"events\.jsonl: got a row that cannot be right"):
        load_results(copy)
