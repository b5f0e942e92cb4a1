"""Which trials a stage has, at which learning rates, and which of the baseline's each is measured against."""

from __future__ import annotations

from typing import Any

from paramalloc.plan import Plan, make_plan
from paramalloc.sweep.tasks import baseline_of, finalist_tasks, ranking_tasks
from paramalloc.sweep_file import check_sweep

MODEL = {"total_params": 100_000, "vocab_size": 600, "context_length": 32}


def plan_of(*experiments: dict[str, Any], **training: Any) -> Plan:
    return make_plan(check_sweep({"name": "t", "model": MODEL, "experiments": experiments, "training": training}))


def test_a_list_of_learning_rates_is_a_trial_each_and_a_single_one_keeps_the_variants_name() -> None:
    plan = plan_of(
        {"name": "wide", "glu_expansion": 4.0, "learning_rate": 5e-4}, {"name": "base"}, learning_rate=[1e-3, 4e-3]
    )
    tasks = ranking_tasks(plan.stages[0], {})
    assert [(task.name, task.variant, task.run.learning_rate, task.is_baseline) for task in tasks] == [
        ("base@lr0.001", "base", 1e-3, True),
        ("base@lr0.004", "base", 4e-3, True),
        ("wide", "wide", 5e-4, False),
    ]


def test_auto_takes_what_was_suggested_for_the_variant() -> None:
    plan = plan_of({"name": "base"}, {"name": "wide", "glu_expansion": 4.0}, learning_rate="auto")
    rates = {
        task.variant: task.run.learning_rate for task in ranking_tasks(plan.stages[0], {"base": 2e-3, "wide": 3e-3})
    }
    assert rates == {"base": 2e-3, "wide": 3e-3}


def test_a_trial_is_measured_against_the_baseline_at_the_nearest_rate() -> None:
    plan = plan_of(
        {"name": "base"},
        {"name": "wide", "glu_expansion": 4.0, "learning_rate": [1e-4, 2e-3, 3e-3]},
        learning_rate=[4e-3, 1e-3],
    )
    assert baseline_of(ranking_tasks(plan.stages[0], {})) == {
        "wide@lr0.0001": "base@lr0.001",
        "wide@lr0.002": "base@lr0.001",  # as near to 0.004, as a ratio: the lower one
        "wide@lr0.003": "base@lr0.004",
    }


def test_finalists_share_the_data_order_of_a_seed_keep_their_best_and_meet_the_baseline_of_their_seed() -> None:
    plan = plan_of({"name": "base"}, {"name": "wide", "glu_expansion": 4.0})
    tasks = finalist_tasks(plan, {"base": 2e-3, "wide": 3e-3})
    assert [task.name for task in tasks][:4] == ["base-seed0", "wide-seed0", "base-seed1", "wide-seed1"]
    assert [task.run.seed for task in tasks] == [0, 0, 1, 1, 2, 2]
    assert {task.variant: task.run.learning_rate for task in tasks} == {"base": 2e-3, "wide": 3e-3}
    assert all(task.keep_best for task in tasks)
    assert baseline_of(tasks) == {f"wide-seed{seed}": f"base-seed{seed}" for seed in range(3)}
