"""`stop: asha` in a stage: who is stopped and how it is written down, and that a new driver stops the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from paramalloc.config import SweepConfig
from paramalloc.files import read_json, read_jsonl
from paramalloc.results import AUDIT, RANKING, ResultsFolder
from paramalloc.sweep.rules.asha import SuccessiveHalving
from paramalloc.sweep.rules.kill_rule import KillRule
from paramalloc.sweep.rules.stopping import NeverStop, rule_for
from tests.sweep.played import PlayedSweep, play
from tests.sweep.test_end_to_end import run
from tests.sweep.tiny import TINY

ASHA = {"stop": "asha"}  # rungs at 1,334 and 4,002 tokens, judged at the evaluations at 2,000 and 6,000
FOUR = [
    {"name": "base"},
    {"name": "wide", "glu_expansion": 4.0},
    {"name": "slow", "learning_rate": 1e-5},
    {"name": "thin", "glu_expansion": 2.0},
]


@pytest.fixture
def asha(played: Callable[..., PlayedSweep]) -> PlayedSweep:
    """Two of four go on from the first rung, one of them and the baseline from the second."""
    return played(ranking=ASHA, experiments=FOUR)


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


def test_the_worse_are_stopped_at_a_rung_once_it_is_sure_and_the_baseline_never(asha: PlayedSweep) -> None:
    for trial in ("wide", "slow", "thin", "base"):
        asha.begin(trial)
    play(asha, "base", 30.0)
    assert play(asha, "wide", 10.0, range(2_000, 6_000, 2_000)) == [False, False]
    assert play(asha, "slow", 40.0, range(2_000, 4_000, 2_000)) == [True]  # base and wide are better: two places
    assert asha.evaluate("thin", 2_000, 20.0) is False  # it is base that has to give way, and need not
    assert asha.kills() == ["slow"]
    row = next(row for row in read_jsonl(asha.folder.decisions) if row["decision"] == "kill")
    assert (row["stage"], row["trial"], row["tokens"]) == ("ranking", "slow", 2_000)
    assert (row["rung_tokens"], row["places"], row["field"]) == (1_334, 2, 4)
    assert row["text"] == "slow killed at 0.00M tokens: not among the best 2 of 4 trials at the rung of 0.00M"


def test_a_new_driver_stops_the_same_trials_at_the_same_places(asha: PlayedSweep) -> None:
    for trial, ppl in (("base", 10.0), ("wide", 20.0), ("slow", 40.0)):
        asha.begin(trial)
        play(asha, trial, ppl, range(2_000, 6_000, 2_000))
    asha.recorder.ended("slow")
    before = asha.kills()
    assert before == ["slow"]
    asha.again()
    assert asha.kills() == before
    assert asha.metrics("slow")["status"] == "killed"
    asha.begin("wide", resumed_at_tokens=4_000, history=[])
    play(asha, "base", 10.0, range(6_000, 8_000, 2_000))
    asha.begin("thin")
    play(asha, "thin", 30.0, range(2_000, 4_000, 2_000))
    asha.evaluate("wide", 6_000, 20.0)
    assert asha.kills() == ["slow", "thin", "wide"]


def test_a_trial_that_fails_or_diverges_holds_nobody_up_in_this_session_and_the_next(asha: PlayedSweep) -> None:
    for trial in ("base", "wide", "slow", "thin"):
        asha.begin(trial)
    play(asha, "base", 10.0, range(2_000, 8_000, 2_000))
    asha.recorder.receive("wide", {"kind": "diverged", "step": 3, "tokens": 1_000})
    asha.fail("thin")
    assert asha.evaluate("slow", 2_000, 40.0) is False  # one of two places is left, and nobody else will come
    assert asha.evaluate("slow", 6_000, 40.0) is True  # one place, which base has
    asha.again()
    assert asha.kills() == ["slow"]
    assert asha.metrics("wide")["status"] == "diverged"


def test_a_new_driver_knows_that_a_diverged_trial_will_not_come(asha: PlayedSweep) -> None:
    """Else it might still be better, nobody worse would be sure of the first rung, and so of losing at the second."""
    for trial in ("base", "wide", "slow"):
        asha.begin(trial)
    play(asha, "base", 10.0, range(2_000, 8_000, 2_000))
    play(asha, "slow", 40.0, range(2_000, 4_000, 2_000))
    asha.recorder.receive("wide", {"kind": "diverged", "step": 3, "tokens": 1_000})
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
