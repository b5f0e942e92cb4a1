"""Which changes of a sweep file are taken over, which are refused, and which decisions are lifted by them."""

from __future__ import annotations

from typing import Any

import pytest

from paramalloc.config import SweepConfig
from paramalloc.sweep.changes import compare
from paramalloc.sweep.runbook.decisions import in_force
from paramalloc.sweep_file import check_sweep

EXPERIMENTS: list[dict[str, Any]] = [{"name": "base"}, {"name": "wide", "glu_expansion": 4.0}]


def sweep(**sections: Any) -> SweepConfig:
    return check_sweep({"name": "t", "experiments": EXPERIMENTS} | sections)


@pytest.mark.parametrize(
    "sections",
    [
        {"cost": {"budget_usd": 7}},
        {"telemetry": {"tensorboard": False}},
        {"resources": {"cpus_per_trial": 2}},
        {"sanity": {"variants": "all"}},
        {"data": {"cache_dir": "elsewhere"}},
        {"data": {"on_overlap": "error"}},
        {"evaluation": {"latency_runs": 10}},
        {"training": {"checkpoint_seconds": 5}},
    ],
)
def test_what_no_number_depends_on_is_taken_over_and_reopens_nothing(sections: dict[str, Any]) -> None:
    changes = compare(sweep(), sweep(**sections))
    assert (changes.refused, changes.reopens) == ((), False)
    assert len(changes.taken_over) == 1


def test_how_often_one_experiment_is_saved_is_no_change_of_it() -> None:
    changes = compare(sweep(), sweep(experiments=[EXPERIMENTS[0], EXPERIMENTS[1] | {"checkpoint_seconds": 5}]))
    assert (changes.refused, changes.reopens) == ((), False)


@pytest.mark.parametrize(
    "sections", [{"finalists": {"count": 3}}, {"finalists": {"seeds": [0, 1, 2, 3]}}, {"ranking": {"audit": True}}]
)
def test_more_finalists_seeds_or_an_audit_reopen_the_decisions(sections: dict[str, Any]) -> None:
    changes = compare(sweep(), sweep(**sections))
    assert (changes.refused, changes.reopens) == ((), True)


def test_a_new_experiment_is_taken_over_and_a_changed_or_missing_one_is_refused() -> None:
    grown = compare(sweep(), sweep(experiments=[*EXPERIMENTS, {"name": "new", "embedding_ratio": 0.25}]))
    assert (grown.refused, grown.taken_over, grown.reopens) == ((), ("experiments: new is new",), True)
    changed = compare(sweep(), sweep(experiments=[EXPERIMENTS[0], {"name": "wide", "glu_expansion": 3.0}]))
    assert changed.refused == ("experiments.wide: {'glu_expansion': 4.0} -> {'glu_expansion': 3.0}",)
    assert compare(sweep(), sweep(experiments=EXPERIMENTS[:1])).refused == (
        "experiments.wide: {'glu_expansion': 4.0} -> unset",
    )


STAGES: list[dict[str, Any]] = [
    {"name": "embed", "experiments": EXPERIMENTS},
    {"name": "glu", "builds_on": "embed", "experiments": [{"name": "glu4x", "glu_expansion": 4.0}]},
]
MORE = {"name": "more", "glu_expansion": 3.0}


def runbook(*stages: dict[str, Any]) -> SweepConfig:
    return check_sweep({"name": "t", "stages": stages})


def test_a_runbook_may_grow_at_its_end() -> None:
    longer = {"name": "vocab", "builds_on": "glu", "experiments": [{"name": "v8k", "vocab_size": 8_000}]}
    grown = STAGES[1] | {"experiments": [*STAGES[1]["experiments"], MORE]}
    changes = compare(runbook(*STAGES), runbook(STAGES[0], grown, longer))
    assert (changes.refused, changes.reopens) == ((), True)
    assert changes.taken_over == ("stages.glu.experiments: more is new", "stages: vocab is new")


@pytest.mark.parametrize(
    ("stages", "refused"),
    [
        ([STAGES[0] | {"experiments": [*EXPERIMENTS, MORE]}, STAGES[1]], "stages.embed.experiments.more"),
        ([STAGES[0], {key: value for key, value in STAGES[1].items() if key != "builds_on"}], "stages.glu.builds_on"),
        (STAGES[:1], "stages.glu.experiments.glu4x"),
        ([STAGES[0] | {"baseline": "wide"}, STAGES[1]], "stages.embed.baseline"),
        ([{"name": "first", "experiments": [MORE]}, *STAGES], "stages.embed.order"),
        (
            [STAGES[0], STAGES[1] | {"experiments": [{"name": "same"}, *STAGES[1]["experiments"]]}],
            "stages.glu.baseline",
        ),
    ],
)
def test_what_others_may_be_built_on_is_not_changed_any_more(stages: list[dict[str, Any]], refused: str) -> None:
    assert any(each.startswith(refused) for each in compare(runbook(*STAGES), runbook(*stages)).refused)


def test_an_experiment_that_is_enabled_counts_as_new() -> None:
    now = sweep(experiments=[*EXPERIMENTS, MORE])
    assert compare(sweep(experiments=[*EXPERIMENTS, MORE | {"enabled": False}]), now) == compare(sweep(), now)


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"vocab_size": 8_000}},
        {"training": {"learning_rate": 2e-3}},
        {"ranking": {"tokens": 1_000_000}},
        {"baseline": "wide"},
        {"data": {"corpus": "synthetic"}},
        {"finalists": {"eval_interval_tokens": 5}},
        {"evaluation": {"metrics": ["smallbench_accuracy"]}},
    ],
)
def test_whatever_changes_a_number_on_disk_is_refused_and_named(sections: dict[str, Any]) -> None:
    (refused,) = compare(sweep(), sweep(**sections)).refused
    assert refused.startswith(next(iter(sections)))


def test_the_same_file_has_no_changes() -> None:
    changes = compare(sweep(), sweep())
    assert (changes.refused, changes.taken_over, changes.reopens) == ((), (), False)


def test_a_decision_holds_until_it_is_reopened_and_then_the_next_one_does() -> None:
    rows = [{"decision": "promote", "n": 1}, {"decision": "kill"}, {"decision": "winner", "n": 1}]
    assert in_force(rows, "promote") == {"decision": "promote", "n": 1}
    rows.append({"decision": "reopen"})
    assert in_force(rows, "promote") is None
    assert in_force(rows, "winner") is None
    rows.append({"decision": "promote", "n": 2})
    assert in_force(rows, "promote") == {"decision": "promote", "n": 2}
    assert in_force([], "winner") is None
