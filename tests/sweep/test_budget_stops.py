"""Real sweeps that reach their budget, save, stop, and carry on with a higher one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cost import ledger
from paramalloc.config import SweepConfig
from paramalloc.data.prepare import prepare
from paramalloc.files import append_jsonl, read_json, read_jsonl
from paramalloc.plan import make_plan
from paramalloc.results import FINALISTS, RANKING, ResultsFolder
from paramalloc.sweep import budget, side_jobs
from paramalloc.sweep.display import Display
from paramalloc.sweep.driver import run_sweep
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.machines.ray_session import RaySession
from paramalloc.sweep.runbook.sanity_stage import check_sanity
from paramalloc.sweep.session import Session
from paramalloc.sweep.stopped import EXIT_BUDGET_REACHED, BudgetReachedError
from paramalloc.sweep.trials.work import make_sweep_data
from tests.sweep.outcomes import numbers

SMALL: dict[str, Any] = {
    "experiments": [{"name": "base"}, {"name": "wide", "glu_expansion": 4.0}],
    "ranking": {"tokens": 24_000, "stop": "none"},
    "finalists": {"count": 1, "seeds": [0]},
    "sanity": {"enabled": False},
}


def run(config: SweepConfig, folder: ResultsFolder) -> str:
    path = folder.root.with_suffix(".log")
    with path.open("w") as stream:
        assert run_sweep(config, folder, Console(file=stream, width=100), verbose=False) == 0
    return path.read_text()


@contextmanager
def dear_once(folder: ResultsFolder, happened: Callable[[], bool]) -> Iterator[None]:
    """As soon as something has happened, the machine turns out to cost ten million dollars a second."""
    over = threading.Event()

    def raise_price() -> None:
        while not happened() and not over.wait(0.02):
            pass
        node = next(row["node"] for row in read_jsonl(folder.events) if row["event"] == "node_up")
        append_jsonl(folder.events, ledger.price(time=time.time(), node=node, usd_per_hour=3.6e10))

    thread = threading.Thread(target=raise_price)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def _frequent_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(budget, "LOOK_SHARE", 1.0)


@pytest.mark.long
@pytest.mark.usefixtures("_frequent_looks")
def test_a_sweep_that_runs_out_of_money_saves_stops_and_ends_with_the_same_numbers_once_there_is_more(
    tmp_path: Path, tiny: Callable[..., SweepConfig], local_ray: None
) -> None:
    undisturbed, folder = ResultsFolder(tmp_path / "undisturbed"), ResultsFolder(tmp_path / "broke")
    run(tiny(**SMALL), undisturbed)

    def trained() -> bool:
        return any(len(read_jsonl(trial.history)) >= 2 for trial in folder.trials(RANKING))

    with dear_once(folder, trained), pytest.raises(BudgetReachedError) as stopped:
        run(tiny(**SMALL), folder)
    assert stopped.value.exit_code == EXIT_BUDGET_REACHED
    events = read_jsonl(folder.events)
    (stop,) = [row for row in events if row["event"] == "budget_stop"]
    assert "of the $50.00 budget spent" in stop["text"]
    assert f"S{stop['text'][1:]}" in folder.report.read_text()
    assert any(row["event"] == "trial_stopped" and row["tokens"] > 0 for row in events)
    with pytest.raises(BudgetReachedError):  # at once, without a trial
        run(tiny(**SMALL), folder)
    assert "Ray:" not in folder.root.with_suffix(".log").read_text()
    run(tiny(**SMALL, cost={"budget_usd": 1e12}), folder)
    assert numbers(folder) == numbers(undisturbed)
    assert "trial_resumed" in {row["event"] for row in read_jsonl(folder.events)}


@contextmanager
def charged(folder: ResultsFolder, usd: float) -> Iterator[None]:
    """Once wide has trained a part, its machine turns out to have cost so much so far, and to cost no more."""
    over = threading.Event()

    def charge() -> None:
        while len(read_jsonl(folder.trial(RANKING, "wide").history)) < 1:
            if over.wait(0.02):
                return
        now, starts = time.time(), [row for row in read_jsonl(folder.events) if row["event"] == "trial_start"]
        first, node = starts[0]["time"], starts[0]["node"]
        for since, usd_per_second in ((now, 0.0), (first, usd / (now - first))):
            append_jsonl(folder.events, ledger.price(time=since, node=node, usd_per_hour=3600 * usd_per_second))

    thread = threading.Thread(target=charge)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.long
@pytest.mark.usefixtures("_frequent_looks")
def test_a_budget_for_the_ranking_of_two_variants_leaves_the_finalists_reserve_and_with_more_the_sweep_ends(
    tmp_path: Path, tiny: Callable[..., SweepConfig], local_ray: None
) -> None:
    """By hand: two rankings cost 200 dollars, a third would cost 100, and two finalists as long 200."""
    one_by_one: dict[str, Any] = SMALL | {
        "experiments": [*SMALL["experiments"], {"name": "late", "glu_expansion": 2.0}],
        "training": {"tokens": SMALL["ranking"]["tokens"]},
        "resources": {"cpus_per_trial": 1.5},  # one trial at a time, on one thread
    }
    undisturbed, folder = ResultsFolder(tmp_path / "undisturbed"), ResultsFolder(tmp_path / "dear")
    run(tiny(**one_by_one), undisturbed)
    with charged(folder, usd=200.0), pytest.raises(BudgetReachedError):
        run(tiny(**one_by_one, cost={"budget_usd": 450}), folder)
    assert {trial.name for trial in folder.trials(RANKING)} == {"base", "wide"}
    assert not list(folder.trials(FINALISTS))
    (hold,), (stop,) = (
        [row for row in read_jsonl(folder.events) if row["event"] == f"budget_{what}"] for what in ("hold", "stop")
    )
    assert hold["trials"] == ["late"]
    assert "$200.00 reserved for later stages" in stop["text"]
    assert (stop["spent_usd"], stop["projected_usd"]) == (pytest.approx(200, abs=0.02), pytest.approx(500, abs=0.05))
    assert read_json(folder.cost_summary)["total_usd"] == stop["spent_usd"]

    run(tiny(**one_by_one, cost={"budget_usd": 501}), folder)
    assert numbers(folder) == numbers(undisturbed)


@pytest.mark.usefixtures("_frequent_looks")
def test_the_sanity_stage_stops_at_the_budget_and_with_more_it_is_done(
    tmp_path: Path, tiny: Callable[..., SweepConfig], local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ResultsFolder(tmp_path / "broke")

    def hang(*arguments: Any) -> None:
        while True:
            time.sleep(0.1)

    def try_out_all(budget_usd: float) -> None:
        config = tiny(experiments=[{"name": "base"}], cost={"budget_usd": budget_usd})
        plan = make_plan(config)
        tokens = prepare(config.data, config.model.vocab_size, lambda text: None)
        data = make_sweep_data({config.model.vocab_size: tokens}, config.model.vocab_size, 2_000)
        with Display(Console(quiet=True)) as display:
            journal = Journal(folder, config.cost, display.say)
            with (
                RaySession(verbose=False) as ray_session,
                closing(journal),
                Session(plan, data, folder, journal, display, ray_session) as session,
            ):
                check_sanity(session, plan, plan.stages[0])

    def there() -> bool:
        return any(row["event"] == "node_up" for row in read_jsonl(folder.events))

    with monkeypatch.context() as patch, dear_once(folder, there):
        patch.setattr(side_jobs, "try_out", hang)
        with pytest.raises(BudgetReachedError):
            try_out_all(50.0)
    assert "of the $50.00 budget spent" in read_jsonl(folder.events)[-2]["text"]
    with pytest.raises(BudgetReachedError):
        try_out_all(50.0)
    assert not folder.overfit("base").exists()
    try_out_all(1e12)
    assert folder.overfit("base").exists()
    assert folder.lr_find("base").exists()
