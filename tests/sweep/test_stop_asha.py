"""`stop: asha` in a stage: who is stopped and how it is written down, and that a new driver stops the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from paramalloc.config import SweepConfig
from paramalloc.files import read_json, read_jsonl
from paramalloc.plan import make_plan
from paramalloc.results import AUDIT, RANKING, ResultsFolder
from paramalloc.sweep.rules.asha import SuccessiveHalving
from paramalloc.sweep.rules.kill_rule import KillRule
from paramalloc.sweep.rules.stopping import NeverStop, rule_for
from paramalloc.sweep.trials.tasks import ranking_tasks
from tests.sweep.played import PlayedSweep, play
from tests.sweep.test_end_to_end import run
from tests.sweep.tiny import TINY

ASHA = {"stop": "asha"}  # rungs at 1,334 and 4,002 tokens, judged at the evaluations at 2,000 and 6,000
SEVEN = [
    {"name": "base"},
    {"name": "wide", "glu_expansion": 4.0},
    {"name": "thin", "glu_expansion": 2.0},
    *({"name": name, "learning_rate": rate} for name, rate in {"slow": 1e-5, "low": 1e-4, "mid": 2e-3}.items()),
    {"name": "high", "learning_rate": 1e-2},
]


@pytest.fixture
def asha(played: Callable[..., PlayedSweep]) -> PlayedSweep:
    """Three of seven go on from the first rung, two from the second: the baseline and one for the final."""
    return played(ranking=ASHA, experiments=SEVEN)


@pytest.mark.parametrize(
    ("ranking", "kind"), [({}, KillRule), (ASHA, SuccessiveHalving), ({"stop": "none"}, NeverStop)]
)
def test_the_sweep_file_chooses_the_rule(
    tiny: Callable[..., SweepConfig], ranking: dict[str, str], kind: type
) -> None:
    assert type(rule_for(tiny(ranking=ranking), [])) is kind


def test_a_file_from_before_the_choice_still_says_that_nobody_is_stopped(tiny: Callable[..., SweepConfig]) -> None:
    assert tiny(ranking={"kill_rule": {"enabled": False}}).ranking.stop == "none"
    assert tiny(ranking={"kill_rule": {"enabled": True}}).ranking.stop == "kill_rule"


@pytest.mark.parametrize(("noise_seeds", "kept"), [((), 2), ((1, 2), 4)])
def test_as_many_are_left_as_may_become_finalists_with_the_baseline_the_best(
    tiny: Callable[..., SweepConfig], noise_seeds: tuple[int, ...], kept: int
) -> None:
    config = tiny(ranking={**TINY["ranking"], **ASHA, "noise_seeds": noise_seeds}, experiments=SEVEN)
    plan = make_plan(config)
    rule = rule_for(config, ranking_tasks(plan.stages[0], {}))
    for tokens in range(2_000, 10_000, 2_000):
        for ppl, item in enumerate(plan.variants, start=10):
            if item.name not in rule.kills:
                rule.observe(item.name, tokens, float(ppl))
    left = [item.name for item in plan.variants if item.name not in rule.kills]
    assert left == [item.name for item in plan.variants[:kept]]
    assert len(left) == 1 + config.most_promoted


def test_the_worse_are_stopped_at_a_rung_once_it_is_sure_and_the_baseline_never(asha: PlayedSweep) -> None:
    for trial in ("wide", "slow", "thin", "low", "base"):
        asha.begin(trial)
    play(asha, "base", 30.0)
    assert play(asha, "wide", 10.0, range(2_000, 6_000, 2_000)) == [False, False]
    assert asha.evaluate("thin", 2_000, 20.0) is False
    assert play(asha, "slow", 40.0, range(2_000, 4_000, 2_000)) == [True]  # three others are better: three places
    assert asha.evaluate("low", 2_000, 25.0) is False  # it is base that has to give way, and need not
    assert asha.kills() == ["slow"]
    row = next(row for row in read_jsonl(asha.folder.decisions) if row["decision"] == "kill")
    assert (row["stage"], row["trial"], row["tokens"]) == ("ranking", "slow", 2_000)
    assert (row["rung_tokens"], row["places"], row["field"]) == (1_334, 3, 7)
    assert row["text"] == "slow killed at 2,000 tokens: not among the best 3 of 7 trials at the rung of 1,334"


def test_a_new_driver_stops_the_same_trials_at_the_same_places(asha: PlayedSweep) -> None:
    ppls = {"base": 10.0, "wide": 20.0, "mid": 30.0, "slow": 40.0, "low": 41.0, "high": 42.0}
    for trial, ppl in ppls.items():
        asha.begin(trial)
        play(asha, trial, ppl, range(2_000, 6_000, 2_000))
    before = asha.kills()
    assert before == ["slow", "low", "high"]
    for trial in before:
        asha.recorder.ended(trial)
    asha.again()
    assert asha.kills() == before
    assert asha.metrics("slow")["status"] == "killed"
    for trial in ("wide", "mid"):
        asha.begin(trial, resumed_at_tokens=4_000, history=[])
    play(asha, "base", 10.0, range(6_000, 8_000, 2_000))
    asha.begin("thin")
    play(asha, "thin", 35.0, range(2_000, 4_000, 2_000))
    assert asha.evaluate("wide", 6_000, 20.0) is False  # one of two places
    assert asha.evaluate("mid", 6_000, 30.0) is True
    assert asha.kills() == [*before, "thin", "mid"]


def test_a_trial_that_fails_or_diverges_holds_nobody_up_in_this_session_and_the_next(asha: PlayedSweep) -> None:
    for item in SEVEN:
        asha.begin(str(item["name"]))
    play(asha, "base", 10.0, range(2_000, 8_000, 2_000))
    play(asha, "mid", 20.0, range(2_000, 8_000, 2_000))
    for trial in ("wide", "low"):
        asha.recorder.receive(trial, {"kind": "diverged", "step": 3, "tokens": 1_000})
    for trial, error in (("thin", "ValueError: one"), ("high", "OSError: another")):
        asha.fail(trial, error=error)
    assert asha.evaluate("slow", 2_000, 40.0) is False  # one of three places is left, and nobody else will come
    assert asha.evaluate("slow", 6_000, 40.0) is True  # two places, which base and mid have
    asha.again()
    assert asha.kills() == ["slow"]
    assert asha.metrics("wide")["status"] == "diverged"


def test_a_new_driver_knows_that_a_diverged_trial_will_not_come(asha: PlayedSweep) -> None:
    """Else it might still be better, nobody worse would be sure of the first rung, and so of losing at the second."""
    for trial in ("base", "mid", "wide", "low", "high", "slow"):
        asha.begin(trial)
    play(asha, "base", 10.0, range(2_000, 8_000, 2_000))
    play(asha, "mid", 20.0, range(2_000, 8_000, 2_000))
    play(asha, "slow", 40.0, range(2_000, 4_000, 2_000))
    for trial in ("wide", "low", "high"):
        asha.recorder.receive(trial, {"kind": "diverged", "step": 3, "tokens": 1_000})
    asha.again()
    asha.begin("thin")
    assert [asha.evaluate("thin", tokens, 30.0) for tokens in (2_000, 4_000, 6_000)] == [False, False, True]


@pytest.mark.long
def test_a_sweep_that_halves_its_field_runs_to_its_report_with_an_audit(
    tiny: Callable[..., SweepConfig], local_ray: None, tmp_path: Path
) -> None:
    """On Ray: a third goes on at each rung, one of the stopped is run on to its end, and the page says all of it."""
    rates = {"slow": 1e-5, "slower": 3e-6, "low": 1e-3, "high": 1e-2}
    config = tiny(
        experiments=[
            {"name": "base"},
            {"name": "wide", "glu_expansion": 4.0},
            *({"name": name, "learning_rate": rate} for name, rate in rates.items()),
        ],
        ranking={**TINY["ranking"], "stop": "asha", "audit": True},
        finalists={**TINY["finalists"], "seeds": [0]},
        sanity={"enabled": False},
        telemetry={"tensorboard": False},
    )
    folder = ResultsFolder(tmp_path / "halved")
    run(config, folder)
    rows = read_jsonl(folder.decisions)
    kills = {row["trial"]: row for row in rows if row["decision"] == "kill"}
    assert "base" not in kills
    assert {"slow", "slower"} <= kills.keys()
    for name, row in kills.items():
        metrics = read_json(folder.trial(RANKING, name).metrics)
        assert (metrics["status"], metrics["tokens"]) == ("killed", row["tokens"])
        assert row["tokens"] >= row["rung_tokens"]
    (audit,) = [row for row in rows if row["decision"] == "audit"]
    assert audit["trial"] == min(kills, key=lambda name: kills[name]["dev_ppl"])
    ended = read_json(folder.trial(AUDIT, audit["trial"]).metrics)
    assert ended["status"] == "finished"
    assert ended["tokens"] > kills[audit["trial"]]["tokens"]
    page = folder.results_page.read_text()
    assert all(row["text"] in page for row in [*kills.values(), audit])
