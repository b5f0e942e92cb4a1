"""Trials without a sweep: what a results folder says was trained is what is trained, to the same tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.bare import BareJob, jobs_of, load_data, train_job, whole_ranking
from benchmarks.kill_rule import Contest, _rule, figures
from benchmarks.sweep_overhead import SMOKE, Timed, extra_trial_seconds, longer
from paramalloc.config import SweepConfig
from paramalloc.files import write_json
from paramalloc.results import FINALISTS, RANKING, ResultsFolder
from paramalloc.sweep.rules.recorded_curves import RecordedRun
from paramalloc.sweep.rules.replay import judge
from paramalloc.sweep_file import check_sweep, dump_sweep, load_sweep
from tests.sweep.tiny import tiny_with


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> SweepConfig:
    raw = tiny_with({"evaluation": {"latency_runs": 0}})
    return check_sweep(raw | {"data": {**raw["data"], "cache_dir": str(tmp_path_factory.mktemp("cache"))}})


def write_trial(folder: ResultsFolder, stage: str, name: str, **about: Any) -> None:
    known = {
        "variant": name,
        "seed": 0,
        "learning_rate": 6e-3,
        "status": "finished",
        "tokens": 1,
        "same_run_as": None,
    }
    path = folder.trial(stage, name).metrics
    path.parent.mkdir(parents=True)
    write_json(path, known | {"same_run_as": None} | about)


def test_the_jobs_are_the_trials_that_a_sweep_has_trained(config: SweepConfig, tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path / "tiny")
    write_trial(folder, RANKING, "base")
    write_trial(folder, RANKING, "slow", status="killed", tokens=6_016, learning_rate=1e-5)
    write_trial(folder, RANKING, "wide", same_run_as="elsewhere/wide")
    write_trial(folder, FINALISTS, "base-seed1", variant="base", seed=1)
    folder.sweep.write_text(dump_sweep(config))
    base, slow, final = jobs_of(folder)
    assert (base.task.is_baseline, base.task.budget_tokens, base.until_tokens) == (True, 12_032, None)
    assert (slow.task.run.learning_rate, slow.until_tokens) == (1e-5, 6_016)
    assert (final.task.seed, final.task.keep_best, final.task.run.budget_tokens) == (1, True, 16_000)


def test_a_trial_is_trained_to_where_the_sweep_stopped_it(config: SweepConfig, tmp_path: Path) -> None:
    plan, jobs = whole_ranking(config, seed=0)
    data = load_data(plan)
    whole = train_job(jobs[0], data, config.evaluation, tmp_path / "whole")
    cut = train_job(BareJob(jobs[0].task, until_tokens=6_000), data, config.evaluation, tmp_path / "cut")
    assert [row["tokens"] for row in whole.rows][-1] == jobs[0].task.budget_tokens
    assert [row["dev_ppl"] for row in cut.rows] == [row["dev_ppl"] for row in whole.rows][: len(cut.rows)]
    assert cut.rows[-1]["tokens"] == 6_016
    assert cut.rows[-2]["tokens"] < 6_000


def test_the_rules_are_compared_on_the_same_curves(config: SweepConfig) -> None:
    """By hand: an arm 10 behind from the start is stopped by the kill rule once it was so for its window."""
    points = range(2_000, 14_000, 2_000)
    arms = tuple(
        RecordedRun(name, tuple((tokens, ppl) for tokens in points)) for name, ppl in (("base", 20.0), ("bad", 30.0))
    )
    contest = Contest("tiny", arms, config)
    outcomes = {rule: [judge(arms, _rule(rule, contest))] for rule in ("kill", "asha", "none")}
    found = figures(outcomes)
    assert config.ranking.kill_rule.window_tokens == 4_000
    assert found["rules"]["kill"]["tokens_share"] == (12_000 + 6_000) / 24_000
    assert found["rules"]["none"] == {"tokens_share": 1.0, "stopped": 0, "same_winner_share": 1.0, "mean_regret": 0.0}
    assert found["rules"]["kill"]["same_winner_share"] == 1.0
    assert found["ratio_vs_best_peer"] == found["rules"]["asha"]["tokens_share"] / 0.75


def test_an_extra_trial_costs_what_the_sweep_grows_beyond_its_training(config: SweepConfig) -> None:
    _, jobs = whole_ranking(config, seed=0)
    few, many = Timed(jobs[:1], 10.0, 4.0, None, []), Timed(jobs[:3], 13.0, 5.0, None, [])
    assert extra_trial_seconds(few, many, slots=2) == 2.0  # 3 s, 1 of it training, on two slots
    assert few.overhead_ratio == 2.5


def test_a_stretched_sweep_has_the_same_evaluations_and_steps_times_as_many() -> None:
    path = Path(__file__).parents[2] / SMOKE
    once = load_sweep(path, [])
    thrice = load_sweep(path, longer(once, 3))
    (short, *_), (long, *_) = ([job.task.run for job in whole_ranking(config, 0)[1]] for config in (once, thrice))
    assert long.budget_tokens == 3 * short.budget_tokens
    assert len(long.evaluation_steps) == len(short.evaluation_steps)
    assert thrice.ranking.kill_rule.window_tokens == 3 * once.ranking.kill_rule.window_tokens
    assert longer(once, 1) == []
