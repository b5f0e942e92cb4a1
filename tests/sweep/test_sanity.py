"""Which checks a sweep is due, when they count as passed, and what is said about a configured learning rate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paramalloc.errors import UserError
from paramalloc.files import append_jsonl, atomic_write, write_json
from paramalloc.plan import Plan, make_plan
from paramalloc.results import ResultsFolder
from paramalloc.sweep.runbook.sanity import Check, checks, passed, rate_decisions, rate_warning, suggested_rates
from paramalloc.sweep_file import check_sweep

WIDE = {"name": "wide", "glu_expansion": 4.0}


def plan_of(*experiments: dict[str, Any], **sections: Any) -> Plan:
    model = {"total_params": 100_000, "vocab_size": 600, "context_length": 32}
    return make_plan(check_sweep({"name": "t", "model": model, "experiments": experiments, **sections}))


def checks_of(plan: Plan) -> list[Check]:
    return checks(plan, plan.stages[0])


def due(plan: Plan) -> list[str]:
    return [check.name for check in checks_of(plan)]


def test_the_baseline_is_tried_all_are_on_request_and_an_automatic_rate_is_always_looked_for() -> None:
    assert due(plan_of(WIDE, {"name": "base"})) == ["overfit-base", "lr_find-base"]
    every = ["overfit-base", "overfit-wide", "lr_find-base", "lr_find-wide"]
    assert due(plan_of(WIDE, {"name": "base"}, sanity={"variants": "all"})) == every
    automatic = plan_of(WIDE | {"learning_rate": "auto"}, {"name": "base"})
    assert due(automatic) == ["overfit-base", "lr_find-base", "lr_find-wide"]
    assert due(plan_of({"name": "base"}, sanity={"enabled": False})) == []


def test_an_automatic_rate_without_the_sanity_stage_is_refused() -> None:
    with pytest.raises(UserError, match=r"sanity\.enabled.*wide has `learning_rate: auto`"):
        plan_of({"name": "base"}, WIDE | {"learning_rate": "auto"}, sanity={"enabled": False})


def test_only_a_good_result_of_the_same_check_is_passed(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    plan = plan_of({"name": "base", "learning_rate": "auto"})
    overfit, _ = checks_of(plan)
    assert not passed(folder, overfit, "tokenizer")
    subject = overfit.subject("tokenizer")
    write_json(folder.overfit("base"), {"passed": False, "subject": subject})
    assert not passed(folder, overfit, "tokenizer")
    write_json(folder.overfit("base"), {"passed": True, "subject": subject})
    assert passed(folder, overfit, "tokenizer")
    assert not passed(folder, overfit, "another text")
    (wider, _) = checks_of(plan_of({"name": "base", "glu_expansion": 4.0}))
    assert not passed(folder, wider, "tokenizer")


@pytest.mark.parametrize("content", ["", '{"passed": true, "subj', "[]", "null", '{"passed": true}', "\xff"])
def test_a_file_that_is_damaged_or_says_too_little_is_not_passed(tmp_path: Path, content: str) -> None:
    folder = ResultsFolder(tmp_path)
    (check, _) = checks_of(plan_of({"name": "base"}))
    atomic_write(folder.overfit("base"), content.encode("latin-1"))
    assert not passed(folder, check, "tokenizer")


def test_an_automatic_rate_is_decided_once_and_holds_when_the_test_is_run_again(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    plan = plan_of({"name": "base", "learning_rate": "auto"}, WIDE)
    write_json(folder.lr_find("base"), {"suggestion": 3e-3, "message": "base: learning rate 0.003 suggested"})
    (row,) = rate_decisions(plan.stages[0], folder)
    assert row == {
        "decision": "learning_rate",
        "variant": "base",
        "suggestion": 3e-3,
        "reason": "base: learning rate 0.003 suggested",
    }
    append_jsonl(folder.decisions, row)
    assert suggested_rates(plan.stages[0], folder) == {"base": 3e-3}
    write_json(folder.lr_find("base"), {"suggestion": 9e-3, "message": "another machine, another suggestion"})
    assert rate_decisions(plan.stages[0], folder) == []
    assert suggested_rates(plan.stages[0], folder) == {"base": 3e-3}
    grown = plan_of({"name": "base", "learning_rate": "auto"}, WIDE | {"learning_rate": "auto"})
    write_json(folder.lr_find("wide"), {"suggestion": 1e-3, "message": "wide: learning rate 0.001 suggested"})
    (row,) = rate_decisions(grown.stages[0], folder)
    append_jsonl(folder.decisions, row)
    assert suggested_rates(grown.stages[0], folder) == {"base": 3e-3, "wide": 1e-3}


def test_rates_far_from_the_suggestion_are_named_and_others_are_not() -> None:
    (item,) = plan_of({"name": "base", "learning_rate": [1e-4, 1e-3, 9e-3]}).variants
    warning = rate_warning(item, {"suggestion": 2e-3})
    assert warning is not None
    assert "0.0001, 0.009 is far from the 0.002" in warning
    assert rate_warning(item, {"suggestion": None}) is None
    (near,) = plan_of({"name": "base", "learning_rate": 1e-3}).variants
    assert rate_warning(near, {"suggestion": 2e-3}) is None
