"""A run that an earlier stage has made: when it is taken over, and what is written of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paramalloc.files import read_json, read_jsonl
from paramalloc.plan import make_plan
from paramalloc.results import TrialFolder
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.rules.stopping import NeverStop
from paramalloc.sweep.runbook.same_run import take_over
from paramalloc.sweep.trials.tasks import ranking_tasks
from tests.sweep.played import PlayedSweep, play
from tests.sweep.tiny import VERSIONS

SECOND = [{"name": "same"}, {"name": "wider", "glu_expansion": 4.0}, {"name": "other-seed", "seed": 1}]
STAGES = [
    {"name": "first", "experiments": [{"name": "base"}, {"name": "wide", "glu_expansion": 4.0}]},
    {"name": "second", "builds_on": "first", "experiments": SECOND},
]


def taken_over(sweep: PlayedSweep) -> dict[str, str]:
    plan = make_plan(sweep.config, {"first": "base"})
    return take_over(plan, ranking_tasks(plan.stages[1], {}), sweep.recorder.trials.values(), sweep.folder)


def files(sweep: PlayedSweep, name: str) -> TrialFolder:
    return sweep.folder.trial("second", name)


def test_an_equal_run_that_finished_is_taken_over_with_its_curve_and_costs_nothing(
    played: Callable[..., PlayedSweep],
) -> None:
    sweep = played(experiments=None, stages=STAGES)
    for trial in ("base", "wide"):
        sweep.begin(trial)
        play(sweep, trial, 10.0)
    assert taken_over(sweep) == {}  # neither has finished
    sweep.finish("base")
    assert taken_over(sweep) == {"same": "first/base"}
    assert taken_over(sweep) == {}  # it has been
    metrics, origin = (
        read_json(each.metrics) for each in (files(sweep, "same"), sweep.folder.trial("first", "base"))
    )
    differing = {key for key in metrics if metrics[key] != origin[key]}
    assert differing >= {"stage", "trial", "variant", "same_run_as"}
    assert not differing - {"stage", "trial", "variant", "same_run_as", "config_hash", "cost_usd", "wall_seconds"}
    assert (metrics["stage"], metrics["same_run_as"], metrics["cost_usd"]) == ("second", "first/base", 0.0)
    assert len(read_jsonl(files(sweep, "same").history)) == 6
    assert files(sweep, "same").config.exists()
    assert not files(sweep, "wider").path.exists()


def test_a_run_that_was_taken_over_is_done_and_its_tokens_do_not_count_twice(
    played: Callable[..., PlayedSweep],
) -> None:
    sweep = played(experiments=None, stages=STAGES)
    sweep.begin("base")
    play(sweep, "base", 10.0)
    sweep.finish("base")
    taken_over(sweep)
    plan = make_plan(sweep.config, {"first": "base"})
    tasks: list[Any] = ranking_tasks(plan.stages[1], {})
    second = StageRecorder(sweep.folder, plan, tasks, sweep.data, sweep.journal, NeverStop(), VERSIONS)
    assert [task.name for task in second.missing] == ["wider", "other-seed"]
    assert ("second", "same") not in sweep.journal.tokens
