"""COST_SUMMARY.json as a sweep keeps it: what kills saved, what is to come, how often it is written, the badges."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jsonschema

import cost
from cost import ledger
from paramalloc.config import CostConfig, SweepConfig
from paramalloc.files import read_json, read_jsonl
from paramalloc.plan import make_plan
from paramalloc.results import FINALISTS, RANKING, SANITY, ResultsFolder
from paramalloc.sweep.journal import SUMMARY_SECONDS, Journal
from paramalloc.sweep.outlook import Outlook, finalist_reserve, look_ahead
from paramalloc.sweep.trials.state import TrialState

SCHEMA = Path(cost.__file__).with_name("cost_summary.schema.json")


class Sweep:
    """A journal on a machine that costs a dollar a second, and a clock that the test turns."""

    def __init__(self, root: Path) -> None:
        self.now, self.folder = 1_000.0, ResultsFolder(root)
        self.journal = Journal(self.folder, CostConfig(fixed_usd_per_hour=3600), lambda text: None, lambda: self.now)
        self.journal.bill(ledger.node_up, node="n", kind="head", gpus=0.0, cpus=1.0)

    def trial(
        self, stage: str, name: str, seconds: float, status: str = "finished", tokens: int | None = None
    ) -> None:
        about = {"node": "n", "stage": stage, "trial": name}
        self.journal.bill(ledger.trial_start, variant=name, share=1.0, **about)
        self.now += seconds
        self.journal.bill(ledger.trial_end, status=status, **about)
        if tokens is not None:
            self.journal.tokens[stage, name] = tokens


def test_savings_projection_and_the_price_of_tokens_are_in_the_file(tmp_path: Path) -> None:
    """By hand: 60 dollars for 6,000 tokens of training; 10 for a check, which trains none and is not repeated."""
    sweep = Sweep(tmp_path)
    sweep.trial(SANITY, "overfit-base", 10.0)
    sweep.trial(RANKING, "base", 40.0, tokens=4_000)
    sweep.trial(RANKING, "wide", 20.0, "killed", tokens=2_000)
    planned = {(RANKING, "base"): 4_000, (RANKING, "wide"): 4_000}
    sweep.journal.look_ahead = lambda: Outlook(planned, {(FINALISTS, "base-seed0"): 12_000})
    sweep.journal.close()
    summary = read_json(sweep.folder.cost_summary)
    jsonschema.validate(summary, json.loads(SCHEMA.read_text()))
    assert summary["total_usd"] == 70.0
    assert summary["savings"]["kill_rule_against_running_on"]["usd"] == 20.0
    assert summary["usd_per_million_tokens"] == round(70 / 6_000 * 1e6, 6)
    assert summary["projection"]["remaining_usd"] == 120.0  # 12,000 tokens at 60 dollars for 6,000
    assert summary == cost.summarize(
        read_jsonl(sweep.folder.events),
        budget_usd=50.0,
        now=sweep.now,
        fixed_usd_per_hour=3600,
        tokens_by_trial={(SANITY, "overfit-base"): 0, **sweep.journal.tokens},
        budget_tokens_by_trial=planned,
        remaining_tokens_by_trial={(FINALISTS, "base-seed0"): 12_000},
    )


def test_a_bill_of_this_moment_counts_what_no_event_has_told_yet(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    sweep.now += 30.0
    assert sweep.journal.bill_now({})["total_usd"] == 30.0
    assert not sweep.journal.cost_summary()["total_usd"]


def test_the_file_is_written_again_once_a_minute(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    sweep.now += SUMMARY_SECONDS - 1.0
    sweep.journal.refresh_cost_summary()
    assert not sweep.folder.cost_summary.exists()
    sweep.now += 1.0
    sweep.journal.refresh_cost_summary()
    first = sweep.folder.cost_summary.read_bytes()
    sweep.now += SUMMARY_SECONDS - 1.0
    sweep.journal.bill(ledger.heartbeat)
    sweep.journal.refresh_cost_summary()
    assert sweep.folder.cost_summary.read_bytes() == first
    sweep.journal.close()
    assert sweep.folder.cost_summary.read_bytes() != first


def test_badges_show_cost_and_progress(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    sweep.trial(RANKING, "base", 40.0, tokens=3_000)
    sweep.journal.write_cost_summary()
    assert "cost: $40.00 of $50.00" in sweep.folder.cost_badge.read_text()
    assert not sweep.folder.progress_badge.exists()  # nobody has said what is to come
    sweep.journal.look_ahead = lambda: Outlook({}, {(RANKING, "wide"): 1_000})
    sweep.journal.write_cost_summary()
    assert "progress: 75%" in sweep.folder.progress_badge.read_text()


def test_finalists_that_are_not_chosen_yet_are_reserved_for_and_then_known_by_name(
    tiny: Callable[..., SweepConfig],
) -> None:
    def trial(stage: str, name: str, tokens: int, done: bool) -> TrialState:
        variant = name.partition("-seed")[0]
        task = SimpleNamespace(stage=stage, name=name, variant=variant, budget_tokens=12_032)
        return cast(TrialState, SimpleNamespace(task=task, tokens=tokens, done=done))

    plan = make_plan(tiny(finalists={"count": 1, "seeds": [0, 1]}))
    reserve: dict[Any, int] = {
        (FINALISTS, f"{name}-seed{seed}"): 16_000 for name in ("base", "challenger1") for seed in (0, 1)
    }
    assert finalist_reserve(plan) == reserve
    ranked = [trial(RANKING, "base", 12_032, done=True), trial(RANKING, "wide", 2_048, done=False)]
    outlook = look_ahead(plan, [*ranked, trial(RANKING, "slow", 4_096, done=True)], {RANKING})
    assert outlook.remaining_tokens == {(RANKING, "wide"): 9_984} | reserve
    assert outlook.reserved == reserve.keys()
    assert outlook.budget_tokens == {(RANKING, name): 12_032 for name in ("base", "wide", "slow")}
    known = look_ahead(plan, [*ranked, trial(FINALISTS, "base-seed0", 0, done=False)], {RANKING, FINALISTS})
    assert known.remaining_tokens == {(RANKING, "wide"): 9_984, (FINALISTS, "base-seed0"): 12_032}
    assert known.variants == {(RANKING, "wide"): "wide", (FINALISTS, "base-seed0"): "base"}
    assert not known.reserved


def test_a_sweep_whose_first_line_was_torn_can_be_resumed(tmp_path: Path) -> None:
    tell = {"event": "waiting", "time": 1.0, "text": "waiting"}
    (tmp_path / "events.jsonl").write_text('{"event": "session_st\n' + json.dumps(tell) + "\n")
    journal = Sweep(tmp_path).journal
    assert journal.began == journal.session
