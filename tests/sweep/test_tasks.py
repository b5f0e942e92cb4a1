"""Which trials a stage has, at which learning rates, and which of the baseline's each is measured against."""

from __future__ import annotations

from typing import Any

from paramalloc.plan import Plan, make_plan
from paramalloc.results import NOISE
from paramalloc.sweep.trials.tasks import audit_task, baseline_of, finalist_tasks, noise_tasks, ranking_tasks
from paramalloc.sweep_file import check_sweep
from tests.sweep.tiny import TINY, tiny_with

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


def test_noise_is_measured_on_the_baseline_with_each_seed_at_both_budgets_even_if_these_are_equal() -> None:
    raw = {"name": "t", "model": MODEL, "experiments": [{"name": "base", "learning_rate": [1e-3, 2e-3]}]}
    budgets = {"training": {"tokens": 12_000}, "ranking": {"tokens": 12_000, "noise_seeds": [4, 5]}}
    tasks = noise_tasks(make_plan(check_sweep(raw | budgets)), {})
    assert {kind: [task.name for task in each] for kind, each in tasks.items()} == {
        "ranking": ["base-ranking-seed4", "base-ranking-seed5"],
        "final": ["base-final-seed4", "base-final-seed5"],
    }
    assert {task.run.learning_rate for each in tasks.values() for task in each} == {1e-3}


def test_an_audit_is_the_killed_trial_again_and_is_measured_against_nobody() -> None:
    plan = plan_of({"name": "base"}, {"name": "wide", "glu_expansion": 4.0})
    _, killed = ranking_tasks(plan.stages[0], {})
    task = audit_task(killed)
    assert (task.stage, task.name, task.run) == ("audit", "wide", killed.run)
    assert baseline_of([task]) == {}


def test_noise_and_final_share_the_runs_that_both_ask_for() -> None:
    ranking = {**TINY["ranking"], "noise_seeds": [0, 1, 7]}
    plan = make_plan(check_sweep(tiny_with({"ranking": ranking})))  # whose finalists have the seeds 0 and 1
    tasks = noise_tasks(plan, {})
    assert [task.name for task in tasks["final"]] == ["base-seed0", "base-seed1", "base-final-seed7"]
    finals = finalist_tasks(plan, {"base": 6e-3, "wide": 6e-3})
    assert tasks["final"][:2] == [task for task in finals if task.variant == "base"]
    assert [task.name for task in tasks["ranking"]] == [f"base-ranking-seed{seed}" for seed in (0, 1, 7)]


def test_of_a_baseline_with_several_learning_rates_noise_has_runs_of_its_own() -> None:
    """Which of them the final takes is not known before the ranking."""
    raw = tiny_with(
        {"ranking": {**TINY["ranking"], "noise_seeds": [0, 1]}, "training": {"learning_rate": [1e-3, 6e-3]}}
    )
    tasks = noise_tasks(make_plan(check_sweep(raw)), {})
    assert {task.stage for of in tasks.values() for task in of} == {NOISE}
