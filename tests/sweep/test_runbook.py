"""A runbook: what a stage is built on, who goes on, what is not trained twice; and one that runs to its report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paramalloc.config import SweepConfig
from paramalloc.errors import UserError
from paramalloc.files import read_json, read_jsonl
from paramalloc.plan import Plan, make_plan
from paramalloc.results import AUDIT, FINALISTS, NOISE, ResultsFolder
from paramalloc.statistics.noise import SeedNoise
from paramalloc.sweep.outlook import reserve
from paramalloc.sweep.runbook.finalists import choose_finalists, stage_winner
from paramalloc.sweep.runbook.selection import RankedRun
from paramalloc.sweep_file import check_sweep
from tests.sweep.outcomes import numbers
from tests.sweep.test_end_to_end import run
from tests.sweep.tiny import ONE_AT_A_TIME, TINY

EMBED = [
    {"name": "emb35"},
    {"name": "emb25", "embedding_ratio": 0.25},
    {"name": "slow", "learning_rate": 1e-5},
]
GLU = [{"name": "wide", "glu_expansion": 4.0}, {"name": "glu266", "glu_expansion": 2.66}]
STAGES: list[dict[str, Any]] = [
    {"name": "embed", "experiments": EMBED},
    {"name": "glu", "builds_on": "embed", "experiments": GLU},
]


def runbook(**sections: Any) -> SweepConfig:
    raw = {section: values for section, values in TINY.items() if section != "experiments"}
    return check_sweep(raw | {"stages": STAGES} | sections)


def ranked(**ppl: float) -> dict[str, RankedRun]:
    return {name: RankedRun(name, 1e-3, value) for name, value in ppl.items()}


def test_a_stage_starts_from_the_winner_of_the_one_it_is_built_on() -> None:
    plan = make_plan(runbook(), {"embed": "emb25"})
    assert plan.baseline.name == "emb35"
    embed, glu = plan.stages
    assert [item.name for item in glu.variants] == ["glu266", "wide"]  # its baseline is what changes nothing
    assert glu.baseline.shape == plan["emb25"].shape
    assert plan["wide"].variant.model.embedding_ratio == 0.25
    assert (glu.built_on, glu.assumed, embed.built_on) == ("emb25", False, None)


def test_before_there_is_a_winner_the_baseline_is_taken_for_it_and_the_plan_says_so() -> None:
    plan = make_plan(runbook())
    assert (plan.stages[1].built_on, plan.stages[1].assumed) == ("emb35", True)
    assert plan["wide"].variant.model.embedding_ratio == 0.35


def test_a_stage_without_a_base_starts_from_the_file() -> None:
    stages = [STAGES[0], {"name": "glu", "experiments": GLU}]
    assert make_plan(runbook(stages=stages), {"embed": "emb25"})["wide"].variant.model.embedding_ratio == 0.35


def test_the_best_goes_on_and_of_equals_the_baseline() -> None:
    assert stage_winner(ranked(base=20.0, a=19.0, b=21.0), "base", None).variant == "a"
    won = stage_winner(ranked(base=20.0, a=19.0), "base", None)
    assert won.text.endswith("5.0% below the baseline base")
    assert won.within_noise is None
    assert stage_winner(ranked(base=20.0, a=20.0), "base", None).variant == "base"


def test_a_stage_winner_that_noise_does_not_tell_from_another_says_so() -> None:
    """1 % of noise in a run is 1.4 % in a difference; two of those reach from 19.00 to 19.54."""
    noise = SeedNoise(0.01, 4)
    won = stage_winner(ranked(base=20.0, a=19.0, b=19.5), "base", noise)
    assert (won.variant, won.within_noise) == ("a", ("b",))
    assert won.text.endswith("; seed noise does not tell b from it")
    assert stage_winner(ranked(base=20.0, a=19.0, b=19.6), "base", noise).within_noise == ()
    assert stage_winner(ranked(base=19.0, a=19.1), "base", noise).text.endswith("does not tell a from it")


@pytest.fixture
def plan() -> Plan:
    return make_plan(runbook(), {"embed": "emb25"})


def test_the_finalists_are_the_baseline_the_winners_and_the_best_of_the_last_stage(plan: Plan) -> None:
    best = ranked(emb35=20.0, emb25=19.0, glu266=19.0, wide=18.0)
    promotion = choose_finalists(plan, ["emb25"], best, None)
    assert promotion.variants == ("emb35", "emb25", "wide")  # not glu266, which is emb25 over again
    assert promotion.reason.startswith("emb25 won a stage before; wide is the best challenger at 18.00")


def test_a_stage_that_its_baseline_wins_adds_no_finalist() -> None:
    same = make_plan(runbook(), {"embed": "emb35"})
    promotion = choose_finalists(same, ["emb35"], ranked(emb35=20.0, glu266=20.0, wide=21.0), None)
    assert promotion.variants == ("emb35", "wide")


def test_all_that_noise_does_not_tell_from_the_best_go_on_but_no_more_than_two_beyond_the_count() -> None:
    experiments = [{"name": f"e{i}", "learning_rate": (i + 1) / 1000} for i in range(7)]
    plan = make_plan(runbook(stages=[{"name": "embed", "experiments": experiments, "baseline": "e3"}]))
    ppl = {"e3": 30.0, "e0": 20.0, "e1": 20.1, "e2": 20.2, "e4": 20.3, "e5": 21.0, "e6": 25.0}
    noise = SeedNoise(0.02, 4)  # two standard errors of a difference are 5.7 %
    assert choose_finalists(plan, [], ranked(**ppl), noise).variants == ("e3", "e0", "e1", "e2")
    assert plan.config.finalists.count == 1
    assert choose_finalists(plan, [], ranked(**ppl), None).variants == ("e3", "e0")
    assert choose_finalists(plan, [], ranked(**ppl), SeedNoise(0.001, 4)).variants == ("e3", "e0")


def test_the_budget_keeps_a_reserve_for_all_stages_that_have_not_begun() -> None:
    plan = make_plan(runbook(ranking={"tokens": 12_000, "audit": True}))
    kept = reserve(plan, {"embed"})
    stages = [stage for stage, _ in kept]
    assert stages.count("glu") == 2
    assert stages.count(AUDIT) == 1
    # The baseline, the winner of the first stage and the best of the last, with two seeds.
    assert stages.count(FINALISTS) == 3 * 2
    assert "embed" not in stages
    assert not reserve(plan, {"embed", "glu", AUDIT, FINALISTS})
    assert {tokens for (stage, _), tokens in kept.items() if stage == "glu"} == {12_032}


BAD_STAGES: list[tuple[dict[str, Any], str]] = [
    ({"experiments": EMBED}, "experiments: got experiments beside `stages`"),
    ({"baseline": "emb35"}, "baseline: got 'emb35'"),
    ({"stages": [STAGES[1]]}, r"stages\[0\]\.builds_on: got 'embed'; allowed, as a stage before it: none"),
    ({"stages": [STAGES[0], STAGES[0]]}, r"stages\[1\]\.name: got 'embed'; a second time"),
    ({"stages": [STAGES[0] | {"name": "finalists"}]}, r"stages\[0\]\.name: got 'finalists'; that name is taken"),
    ({"stages": [STAGES[0] | {"name": "sweep.yaml"}]}, r"stages\[0\]\.name: .*small letters"),
    ({"stages": [STAGES[0], STAGES[1] | {"experiments": EMBED[:1]}]}, r"stages\[1\]\.experiments\[0\]\.name"),
    ({"stages": [STAGES[0] | {"baseline": "wide"}]}, r"stages\[0\]\.baseline: got 'wide'; allowed: emb35"),
    ({"stages": [{"name": "embed", "experiments": [EMBED[0] | {"enabled": False}]}]}, "enable one at least"),
    ({"stages": None}, "experiments: got nothing"),
]


@pytest.mark.parametrize(("sections", "message"), BAD_STAGES)
def test_a_mistake_in_a_runbook_is_named_by_its_place(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        runbook(**sections)


@pytest.fixture(scope="module")
def book(
    tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., SweepConfig], cache: Path, local_ray: None
) -> tuple[SweepConfig, ResultsFolder, str]:
    """A runbook of two stages with noise calibration and audit that ran through, and what it printed."""
    config = runbook(
        data={**TINY["data"], "cache_dir": str(cache)},
        ranking={**TINY["ranking"], "noise_seeds": [0, 1], "audit": True},
        finalists={**TINY["finalists"], "seeds": [0]},
        sanity={"enabled": False},
        telemetry={"tensorboard": False},
        **ONE_AT_A_TIME,
    )
    folder = ResultsFolder(tmp_path_factory.mktemp("results") / "book")
    return config, folder, run(config, folder)


def decisions(folder: ResultsFolder) -> list[str]:
    return [row["decision"] for row in read_jsonl(folder.decisions)]


def test_a_runbook_goes_through_its_stages_to_one_report(book: tuple[SweepConfig, ResultsFolder, str]) -> None:
    _, folder, said = book
    assert decisions(folder) == ["noise", "kill", "stage_winner", "promote", "audit", "winner"]
    stages = {path.parent.parent.name for path in folder.root.glob("*/*/metrics.json")}
    assert stages == {NOISE, "embed", "glu", AUDIT, FINALISTS}
    winner = next(row for row in read_jsonl(folder.decisions) if row["decision"] == "stage_winner")
    finished = {name: ppl for name, (status, ppl) in scores(folder, "embed").items() if status == "finished"}
    assert winner["variant"] == min(finished, key=lambda name: finished[name])
    plans = {stage["name"]: stage for stage in read_json(folder.plan)["stages"]}
    assert (plans["glu"]["built_on"], plans["glu"]["assumed"]) == (winner["variant"], False)
    wide = read_json(folder.trial("glu", "wide").metrics)
    assert wide["embedding_ratio"] == {"emb35": 0.35, "emb25": 0.25}[winner["variant"]]
    page = folder.results_page.read_text()
    for row in read_jsonl(folder.decisions):
        assert row.get("text", "") in page
        assert row.get("text", "") in " ".join(said.split())


def scores(folder: ResultsFolder, stage: str) -> dict[str, tuple[str, float]]:
    found = {trial.name: read_json(trial.metrics) for trial in folder.trials(stage)}
    return {name: (item["status"], item["dev_ppl"]) for name, item in found.items()}


def test_what_an_earlier_stage_has_trained_is_taken_over_and_billed_once(
    book: tuple[SweepConfig, ResultsFolder, str],
) -> None:
    _, folder, _ = book
    winner = next(row for row in read_jsonl(folder.decisions) if row["decision"] == "stage_winner")["variant"]
    taken, source = (read_json(folder.trial(*of).metrics) for of in (("glu", "glu266"), ("embed", winner)))
    assert taken["same_run_as"] == f"embed/{winner}"
    assert (taken["dev_ppl"], taken["tokens"], taken["cost_usd"]) == (source["dev_ppl"], source["tokens"], 0.0)
    assert read_jsonl(folder.trial("glu", "glu266").history) == read_jsonl(folder.trial("embed", winner).history)
    assert read_json(folder.trial("embed", "emb35").metrics)["same_run_as"] == "noise/emb35-ranking-seed0"
    billed = {(line["stage"], line["trial"]) for line in read_json(folder.cost_summary)["by_trial"]}
    assert not billed & {("glu", "glu266"), ("embed", "emb35")}
    assert {("glu", "wide"), (AUDIT, "slow"), (NOISE, "emb35-final-seed1")} <= billed


def test_the_audit_runs_the_killed_trial_to_its_end_and_leaves_its_own_result_alone(
    book: tuple[SweepConfig, ResultsFolder, str],
) -> None:
    _, folder, _ = book
    row = next(row for row in read_jsonl(folder.decisions) if row["decision"] == "audit")
    ended, killed = (read_json(folder.trial(stage, "slow").metrics) for stage in (AUDIT, "embed"))
    assert (killed["status"], ended["status"]) == ("killed", "finished")
    assert killed["tokens"] < ended["tokens"]
    assert (row["trial"], row["variant"], row["dev_ppl"]) == ("slow", "slow", ended["dev_ppl_per_baseline_token"])
    assert row["baseline_dev_ppl"] == scores(folder, "embed")["emb35"][1]
    assert row["kill_was_right"] is (row["dev_ppl"] >= row["baseline_dev_ppl"])
    before = read_jsonl(folder.trial("embed", "slow").history)
    after = read_jsonl(folder.trial(AUDIT, "slow").history)
    assert [line["dev_ppl"] for line in before] == [line["dev_ppl"] for line in after][: len(before)]


@pytest.mark.long
def test_a_runbook_that_was_cut_between_stages_ends_with_the_same_numbers(
    book: tuple[SweepConfig, ResultsFolder, str], tmp_path: Path
) -> None:
    config, done, _ = book
    folder = ResultsFolder(tmp_path / "book")
    shutil.copytree(done.root, folder.root)
    for stage in ("glu", AUDIT, FINALISTS):
        shutil.rmtree(folder.root / stage)
    folder.report.unlink()
    rows = read_jsonl(folder.decisions)
    kept = rows[: decisions(folder).index("stage_winner") + 1]
    folder.decisions.write_text("".join(json.dumps(row) + "\n" for row in kept))
    run(config, folder)
    assert numbers(folder) == numbers(done)


def test_a_second_run_of_a_finished_runbook_changes_nothing(book: tuple[SweepConfig, ResultsFolder, str]) -> None:
    config, folder, _ = book
    before = {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}
    assert "done already" in run(config, folder)
    assert before == {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}
