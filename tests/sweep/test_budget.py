"""The budget: what may start, with a stage that the test plays; and real sweeps that reach theirs and are resumed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from cost import ledger
from cost.budget import Go, HoldNewTrials, Stop
from paramalloc.config import CostConfig, SweepConfig
from paramalloc.data.prepare import prepare
from paramalloc.files import append_jsonl, read_json, read_jsonl
from paramalloc.plan import make_plan
from paramalloc.results import FINALISTS, RANKING, ResultsFolder
from paramalloc.sweep import budget
from paramalloc.sweep.budget import BudgetGuard, admit
from paramalloc.sweep.display import plain_line
from paramalloc.sweep.driver import run_sweep
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.outlook import look_ahead
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.stopped import EXIT_BUDGET_REACHED, BudgetReachedError
from paramalloc.sweep.stopping import NeverStop
from paramalloc.sweep.tasks import ranking_tasks
from paramalloc.sweep.work import SweepData, make_sweep_data
from tests.sweep.outcomes import numbers
from tests.sweep.tiny import STARTED, VERSIONS

USD = st.floats(0, 100)


def test_trials_are_admitted_in_their_order_as_long_as_the_reserve_stays_intact() -> None:
    waiting = [("a", 2.0), ("b", 2.0), ("c", 0.5)]
    assert admit(1.0, 10.0, 1.0, waiting, reserve=4.0).admitted == ("a", "b")  # 1 + 1 + 4 + 4 is all of it
    held = admit(1.0, 10.0, 1.5, waiting, reserve=4.0)
    assert held.admitted == ("a",)  # not c instead of b: the order would depend on prices
    assert isinstance(held.decision, HoldNewTrials)
    assert isinstance(admit(1.0, 10.0, 99.0, [], reserve=99.0).decision, Go)  # what runs is let run
    assert isinstance(admit(10.0, 10.0, 0.0, waiting, reserve=0.0).decision, Stop)


@given(USD, USD, USD, st.lists(USD, max_size=5), USD)
def test_no_trial_is_ever_admitted_beyond_the_budget(
    spent: float, limit: float, running: float, waiting: list[float], reserve: float
) -> None:
    named = [(str(index), usd) for index, usd in enumerate(waiting)]
    count = len(admit(spent, limit, running, named, reserve).admitted)
    assert count == 0 or spent + running + sum(waiting[:count]) + reserve <= limit * (1 + 1e-9)


class Played:
    """A ranking of base, wide and slow on one machine at a dollar a second, whose clock the test turns.

    Each trial trains 94 steps of 128 tokens; base and one challenger will be finalists, with as many tokens each.
    """

    def __init__(self, config: SweepConfig, folder: Path, data: SweepData) -> None:
        self.now, self.said = 1_000.0, list[str]()
        self.folder = ResultsFolder(folder)
        self.journal = Journal(self.folder, config.cost, self.said.append, clock=lambda: self.now)
        self.journal.bill(ledger.node_up, node="n1", kind="head", gpus=0.0, cpus=1.0)
        plan = make_plan(config)
        self.recorder = StageRecorder(
            self.folder, plan, ranking_tasks(plan.stages[0], {}), data, self.journal, NeverStop(), VERSIONS
        )
        self.journal.look_ahead = lambda: look_ahead(plan, self.recorder.trials.values(), {RANKING})
        self.guard = BudgetGuard(self.journal, clock=lambda: self.now)

    def begin(self, trial: str) -> None:
        self.recorder.receive(trial, STARTED | {"share": 1.0})

    def evaluate(self, trial: str, tokens: int, seconds: float) -> None:
        """The trial gets there in `seconds`."""
        self.now += seconds
        scores = {"train_loss": 1.0, "dev_ppl": 9.0, "dev_ppl_per_baseline_token": 9.0}
        row = {"step": tokens // 128, "tokens": tokens, "training_seconds": seconds, **scores}
        self.recorder.receive(trial, {"kind": "evaluation", "row": row})

    def train(self, trial: str, seconds: float) -> None:
        self.begin(trial)
        self.evaluate(trial, self.recorder.trials[trial].task.budget_tokens, seconds)
        scores = {f"{split}_{name}": 9.0 for split in ("dev", "test") for name in ("loss", "ppl", "bpb", "word_ppl")}
        scores |= {"dev_ppl_per_baseline_token": 9.0, "test_ppl_per_baseline_token": 9.0}
        self.recorder.receive(trial, {"kind": "finished", "scores": scores})

    def look(self, seconds: float = budget.LOOK_SECONDS) -> None:
        self.now += seconds
        self.guard.tick(self.recorder, {trial.task.name for trial in self.recorder.running})

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [row for row in read_jsonl(self.folder.events) if row["event"] == kind]


@pytest.fixture
def play(tmp_path: Path, tiny: Callable[..., SweepConfig]) -> Callable[[float], Played]:
    """`play(budget_usd)`."""

    def make(budget_usd: float) -> Played:
        config = tiny(
            cost={"budget_usd": budget_usd, "fixed_usd_per_hour": 3600},
            finalists={"count": 1, "seeds": [0]},
            training={"tokens": 12_000},
        )
        tokens = prepare(config.data, config.model.vocab_size, lambda text: None)
        data = make_sweep_data({config.model.vocab_size: tokens}, config.model.vocab_size, 2_000)
        return Played(config, tmp_path / "played", data)

    return make


def test_a_budget_for_the_ranking_of_two_variants_stops_with_the_reserve_for_finalists_intact(
    play: Callable[[float], Played],
) -> None:
    """By hand: after wide 215 dollars are spent, 15 of them on waiting; slow 107.50, two finalists 215: 537.50."""
    sweep = play(500.0)
    assert sweep.guard.admit(sweep.recorder) == ["base", "wide", "slow"]  # nothing is known yet
    sweep.train("base", seconds=100.0)
    sweep.look()
    assert sweep.guard.withheld == {"slow"}
    sweep.train("wide", seconds=100.0)
    with pytest.raises(BudgetReachedError, match=r"cost\.budget_usd \(about \$538 to the end"):
        sweep.guard.admit(sweep.recorder)
    (hold,), (stop,) = sweep.events("budget_hold"), sweep.events("budget_stop")
    assert hold["trials"] == ["slow"]
    assert "$215.00 reserved for the finalists" in stop["text"]
    assert (stop["spent_usd"], stop["projected_usd"]) == (215.0, 537.5)
    sweep.journal.cost = CostConfig(budget_usd=538.0, fixed_usd_per_hour=3600)
    assert sweep.guard.admit(sweep.recorder) == ["slow"]
    assert not sweep.guard.withheld


def test_a_trial_that_was_held_back_starts_after_all_when_the_others_cost_less_than_it_seemed(
    play: Callable[[float], Played],
) -> None:
    sweep = play(500.0)
    sweep.guard.admit(sweep.recorder)
    sweep.train("base", seconds=100.0)
    sweep.look()
    sweep.train("wide", seconds=20.0)
    assert sweep.guard.withheld == {"slow"}
    assert sweep.guard.admit(sweep.recorder) == ["slow"]


def test_dollars_since_the_last_evaluation_are_not_taken_for_its_tokens(play: Callable[[float], Played]) -> None:
    """19 dollars for 2,048 tokens would come to 570 in the end; for the 3,891 trained by now, to 308."""
    sweep = play(400.0)
    sweep.guard.admit(sweep.recorder)
    sweep.begin("base")
    sweep.look(0.0)
    sweep.evaluate("base", 2_048, seconds=10.0)
    sweep.look(0.0)
    sweep.look(9.0)
    assert not sweep.guard.withheld
    assert sweep.journal.bill_now({})["projection"]["total_usd"] > 400


def test_boot_is_spent_once_and_holds_nothing_back(play: Callable[[float], Played]) -> None:
    """300 seconds of boot, then 17 for 2,048 of 12,032 tokens: the rest of five trials comes to 482 dollars."""
    sweep = play(2_000.0)
    sweep.guard.admit(sweep.recorder)
    sweep.now += 300.0
    sweep.begin("base")
    sweep.evaluate("base", 2_048, seconds=17.0)
    sweep.look(0.0)
    assert sweep.guard.withheld == set()
    whole = 17.0 * 12_032 / 2_048
    assert sweep.journal.bill_now({})["projection"]["total_usd"] == pytest.approx(300 + 5 * whole, abs=0.05)


def test_the_first_few_tokens_of_a_trial_say_nothing_of_the_others(play: Callable[[float], Played]) -> None:
    """128 tokens in 60 seconds would be 5,640 dollars a trial: it has only warmed up."""
    sweep = play(2_000.0)
    sweep.guard.admit(sweep.recorder)
    sweep.begin("base")
    sweep.evaluate("base", 128, seconds=60.0)
    sweep.look()
    assert sweep.guard.withheld == set()
    sweep.evaluate("base", 1_024, seconds=400.0)
    sweep.look()
    assert sweep.guard.withheld


def test_a_warning_comes_once_and_the_end_of_the_budget_stops_what_runs(play: Callable[[float], Played]) -> None:
    sweep = play(200.0)
    sweep.guard.admit(sweep.recorder)
    sweep.begin("base")
    sweep.look(159.0)
    assert sweep.events("budget_warning") == []
    sweep.look()
    sweep.look()
    (warning,) = sweep.events("budget_warning")
    assert warning["text"] == "budget: $174.00 of the $200.00 budget spent (87%)"
    assert "0 of 3 done; $189.00 of $200.00 spent" in plain_line(sweep.recorder)
    assert not sweep.guard.spent_up
    sweep.look()
    assert sweep.guard.spent_up
    with pytest.raises(BudgetReachedError):
        sweep.guard.require()


LATE = {"name": "late", "glu_expansion": 2.0}
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


@pytest.mark.long
@pytest.mark.usefixtures("_frequent_looks")
def test_a_sweep_whose_finalists_would_cost_too_much_starts_no_third_trial_until_there_is_more(
    tmp_path: Path, tiny: Callable[..., SweepConfig], local_ray: None
) -> None:
    changes = SMALL | {"experiments": [*SMALL["experiments"], LATE], "training": {"tokens": 100_000_000}}
    folder = ResultsFolder(tmp_path / "dear")

    def ranked() -> set[str]:
        return {trial.name for trial in folder.trials(RANKING) if trial.metrics.exists()}

    with pytest.raises(BudgetReachedError):
        run(tiny(**changes, cost={"budget_usd": 500, "fixed_usd_per_hour": 3600}), folder)
    assert ranked() == {"base", "wide"}
    assert {trial.name for trial in folder.trials(RANKING)} == ranked()
    assert read_json(folder.cost_summary)["total_usd"] < 500
    more = tiny(**changes, cost={"budget_usd": 1e7, "fixed_usd_per_hour": 3600})
    with dear_once(folder, lambda: any(folder.trials(FINALISTS))), pytest.raises(BudgetReachedError):
        run(more, folder)
    assert ranked() == {"base", "wide", "late"}
