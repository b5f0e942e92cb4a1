"""What a trial does between its start and its last report, without Ray."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paramalloc.config import SweepConfig
from paramalloc.data.prepare import prepare
from paramalloc.numerics import Numerics
from paramalloc.plan import make_plan
from paramalloc.sweep.trials.tasks import TrialTask, ranking_tasks
from paramalloc.sweep.trials.work import EVALUATION_SHARE, SweepData, make_sweep_data, run_trial
from paramalloc.training.checkpoint import CheckpointStore

CPU = Numerics(torch.device("cpu"), "fp32")
INTERVAL = 2_000


@pytest.fixture(scope="module")
def config(tiny: Callable[..., SweepConfig]) -> SweepConfig:
    return tiny(
        experiments=[
            {"name": "base"},
            {"name": "small-vocab", "vocab_size": 400, "embedding_ratio": 0.3},
            {"name": "explosive", "learning_rate": 1e30},
        ]
    )


@pytest.fixture(scope="module")
def data(config: SweepConfig) -> SweepData:
    sizes = {variant.model.vocab_size for variant in config.variants}
    return make_sweep_data({size: prepare(config.data, size) for size in sizes}, 600, INTERVAL)


def reports(
    task: TrialTask, data: SweepData, config: SweepConfig, folder: Path, *, leave_after: int | None = None
) -> list[dict[str, Any]]:
    """What the trial tells; a notice comes once it has told `leave_after` evaluations."""
    told: list[dict[str, Any]] = []

    def notice() -> str | None:
        evaluations = sum(item["kind"] == "evaluation" for item in told)
        return "spot notice" if leave_after is not None and evaluations >= leave_after else None

    store = CheckpointStore(folder)
    run_trial(task, data, config.evaluation, store, CPU, told.append, notice=notice)
    return told


def task_of(config: SweepConfig, name: str) -> TrialTask:
    return next(task for task in ranking_tasks(make_plan(config).stages[0], {}) if task.name == name)


def test_a_trial_reports_its_start_each_evaluation_and_its_scores(
    config: SweepConfig, data: SweepData, tmp_path: Path
) -> None:
    task = task_of(config, "base")
    told = reports(task, data, config, tmp_path)
    assert [item["kind"] for item in told] == ["started", *["evaluation"] * 6, "finished"]
    assert told[-1]["scores"]["dev_ppl"] > 1
    measured = {length: times is not None for length, times in told[-1]["latency_ms"].items()}
    assert measured == {"32": True, "128": False, "512": False}  # 32 is the context
    again = reports(task, data, config, tmp_path)
    assert [item["kind"] for item in again] == ["started", "finished"]
    assert again[0]["history"] == [item["row"] for item in told[1:-1]]
    assert again[-1]["scores"] == told[-1]["scores"]


def test_a_notice_ends_a_trial_that_carries_on_where_it_was(
    config: SweepConfig, data: SweepData, tmp_path: Path
) -> None:
    task = task_of(config, "base")
    whole = reports(task, data, config, tmp_path / "whole")
    tokens_behind = 0
    for _ in range(2):
        started, *evaluations, left = reports(task, data, config, tmp_path, leave_after=3)
        assert started["resumed_at_tokens"] == tokens_behind
        assert [item["kind"] for item in evaluations] == ["evaluation"] * 3
        tokens_behind = left["step"] * task.run.step_tokens
        reason = {"reason": "spot notice", "step": left["step"], "tokens": tokens_behind}
        assert left == {"kind": "preempted", **reason}
    assert left["step"] == task.run.total_steps  # the second notice came before the final scores
    again = reports(task, data, config, tmp_path)
    assert [item["kind"] for item in again] == ["started", "finished"]
    assert again[-1]["scores"] == whole[-1]["scores"]


def test_the_same_trial_twice_gives_the_same_numbers_and_another_seed_gives_others(
    config: SweepConfig, data: SweepData, tmp_path: Path
) -> None:
    task = task_of(config, "base")
    other = replace(task, run=replace(task.run, seed=1))
    first, second, third = (
        reports(each, data, config, tmp_path / str(number)) for number, each in enumerate((task, task, other))
    )
    curves = [[row["dev_loss"] for row in rows_of(told)] for told in (first, second, third)]
    assert first[-1]["scores"] == second[-1]["scores"] != third[-1]["scores"]
    assert curves[0] == curves[1] != curves[2]


def rows_of(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [item["row"] for item in told if item["kind"] == "evaluation"]


def test_a_divergence_is_reported_and_is_no_exception(config: SweepConfig, data: SweepData, tmp_path: Path) -> None:
    told = reports(task_of(config, "explosive"), data, config, tmp_path)
    assert told[-1]["kind"] == "diverged"
    assert told[-1]["tokens"] <= task_of(config, "explosive").budget_tokens


def test_all_tokenizers_are_scored_on_the_same_text(data: SweepData) -> None:
    large, small = data.slices[600], data.slices[400]
    assert np.array_equal(large.bytes_per_document, small.bytes_per_document)
    assert len(large.tokens) < len(small.tokens)
    assert data.baseline_slice_tokens == len(large.tokens)


def test_perplexity_across_tokenizers_is_per_token_of_the_baseline(
    config: SweepConfig, data: SweepData, tmp_path: Path
) -> None:
    scores = reports(task_of(config, "small-vocab"), data, config, tmp_path)[-1]["scores"]
    nats = scores["dev_loss"] * len(data.token_sets[400].dev.tokens)
    expected = math.exp(nats / len(data.token_sets[600].dev.tokens))
    assert scores["dev_ppl_per_baseline_token"] == pytest.approx(expected)
    assert scores["dev_ppl_per_baseline_token"] > scores["dev_ppl"]
    own = reports(task_of(config, "base"), data, config, tmp_path / "base")[-1]["scores"]
    assert own["dev_ppl_per_baseline_token"] == pytest.approx(own["dev_ppl"])


@pytest.mark.parametrize("interval", [5_000, 20_000])
def test_scoring_dev_on_the_way_costs_at_most_five_percent(config: SweepConfig, interval: int) -> None:
    tokens = prepare(config.data, 600)
    sliced = make_sweep_data({600: tokens}, 600, interval)
    run = replace(task_of(config, "base").run, budget_tokens=100_000, eval_interval_tokens=interval)
    forward = len(run.evaluation_steps) * sliced.baseline_slice_tokens / 3  # of the three passes of training
    share = forward / run.budget_tokens
    assert 0.6 * EVALUATION_SHARE < share <= EVALUATION_SHARE * 1.01
