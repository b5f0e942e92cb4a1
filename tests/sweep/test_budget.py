"""The budget: what it lets start, warns of and stops, with a stage that the test plays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.played_trials import evaluation, finished
from cost import ledger
from cost.budget import Go, HoldNewTrials, Stop
from paramalloc.config import CostConfig, SweepConfig
from paramalloc.data.prepare import prepare
from paramalloc.files import read_jsonl
from paramalloc.plan import make_plan
from paramalloc.results import FINALISTS, ResultsFolder
from paramalloc.sweep import budget
from paramalloc.sweep.budget import BudgetGuard, admit
from paramalloc.sweep.display import plain_line
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.outlook import Outlook, look_ahead
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.rules.stopping import NeverStop
from paramalloc.sweep.stopped import BudgetReachedError
from paramalloc.sweep.trials.tasks import TrialTask, finalist_tasks, ranking_tasks
from paramalloc.sweep.trials.work import SweepData, make_sweep_data
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
        self.plan, self.data = make_plan(config), data
        self.stages: list[StageRecorder] = []
        self.recorder = self.stage(ranking_tasks(self.plan.stages[0], {}))
        self.journal.look_ahead = self.look_ahead
        self.guard = BudgetGuard(self.journal, clock=lambda: self.now)

    def stage(self, tasks: list[TrialTask]) -> StageRecorder:
        """A stage that begins."""
        self.recorder = StageRecorder(self.folder, self.plan, tasks, self.data, self.journal, NeverStop(), VERSIONS)
        self.stages.append(self.recorder)
        return self.recorder

    def train_ahead(self) -> StageRecorder:
        """The baseline's final run beside the present stage."""
        present = self.recorder
        self.guard.ahead = self.stage(finalist_tasks(self.plan, {"base": 1e-3}))
        self.recorder = present
        return self.guard.ahead

    def look_ahead(self) -> Outlook:
        trials = [trial for stage in self.stages for trial in stage.trials.values()]
        begun = {trial.task.stage for trial in trials} - ({FINALISTS} if self.guard.ahead else set())
        return look_ahead(self.plan, trials, begun)

    def begin(self, trial: str) -> None:
        self.recorder.receive(trial, STARTED | {"share": 1.0})

    def evaluate(self, trial: str, tokens: int, seconds: float) -> None:
        """The trial gets there in `seconds`."""
        self.now += seconds
        self.recorder.receive(trial, evaluation(tokens, 9.0, seconds))

    def train(self, trial: str, seconds: float) -> None:
        self.begin(trial)
        self.evaluate(trial, self.recorder.trials[trial].task.budget_tokens, seconds)
        self.recorder.receive(trial, finished(9.0))

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
    """By hand: after wide 215 dollars are spent, 15 of them on waiting; slow 107.50, two finalists 215: 537.50.

    With as much, and no more waiting, there is enough to the end.
    """
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
    assert "$215.00 reserved for later stages" in stop["text"]
    assert (stop["spent_usd"], stop["projected_usd"]) == (215.0, 537.5)
    sweep.journal.cost = CostConfig(budget_usd=538.0, fixed_usd_per_hour=3600)
    assert sweep.guard.admit(sweep.recorder) == ["slow"]
    assert not sweep.guard.withheld
    sweep.train("slow", seconds=100.0)
    finals = sweep.stage(finalist_tasks(sweep.plan, {"base": 1e-3, "wide": 1e-3}))
    assert sweep.guard.admit(finals) == ["base-seed0", "wide-seed0"]
    sweep.train("base-seed0", seconds=100.0)
    sweep.train("wide-seed0", seconds=100.0)
    sweep.guard.require()
    assert sweep.journal.cost_summary()["total_usd"] == 515.0


def test_what_runs_ahead_belongs_to_the_reserve_and_begins_only_where_there_is_room_for_everything(
    play: Callable[[float], Played],
) -> None:
    """As above, but the baseline's final run has begun: what is left of it is still to be paid."""
    sweep = play(500.0)
    ranking, ahead = sweep.recorder, sweep.train_ahead()
    assert sweep.guard.admit(ranking) == ["base", "wide", "slow"]
    assert sweep.guard.room_ahead
    sweep.train("base", seconds=100.0)
    sweep.look()
    assert sweep.guard.withheld == {"slow"}
    assert not sweep.guard.room_ahead
    sweep.journal.cost = CostConfig(budget_usd=2_000.0, fixed_usd_per_hour=3600)
    sweep.look()
    assert sweep.guard.room_ahead
    ahead.receive("base-seed0", STARTED | {"share": 1.0})
    sweep.look()
    assert [trial.task.name for trial in ahead.running] == ["base-seed0"]
    assert sweep.guard.room_ahead


def test_there_is_no_room_ahead_where_the_trials_that_run_will_need_it(play: Callable[[float], Played]) -> None:
    """Nobody waits: 115 dollars are spent, 192 the rest of what runs will cost, and 153 are reserved."""
    sweep = play(400.0)
    sweep.train_ahead()
    sweep.guard.admit(sweep.recorder)
    for name in ("base", "wide", "slow"):
        sweep.begin(name)
    sweep.evaluate("base", 6_016, seconds=100.0)
    sweep.look()
    assert not sweep.guard.withheld
    assert not sweep.guard.room_ahead


def test_what_runs_already_when_its_stage_begins_is_let_run_whatever_it_will_cost(
    play: Callable[[float], Played],
) -> None:
    sweep = play(150.0)
    sweep.guard.admit(sweep.recorder)
    sweep.train("base", seconds=100.0)
    finals = sweep.stage(finalist_tasks(sweep.plan, {"base": 1e-3, "wide": 1e-3}))
    finals.receive("base-seed0", STARTED | {"share": 1.0})
    assert sweep.guard.admit(finals) == []
    assert sweep.guard.withheld == {"wide-seed0"}


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


def test_what_runs_beside_the_trials_is_watched_at_the_same_pace_and_stopped(play: Callable[[float], Played]) -> None:
    sweep = play(40.0)
    sweep.now += 14.0  # dollars
    sweep.guard.watch()
    sweep.journal.cost = CostConfig(budget_usd=10.0, fixed_usd_per_hour=3600)
    sweep.guard.watch()  # it is not time to look
    sweep.journal.cost = CostConfig(budget_usd=40.0, fixed_usd_per_hour=3600)
    for _ in range(2):
        sweep.now += 10.0
        sweep.guard.watch()
    (warning,) = sweep.events("budget_warning")
    assert warning["text"] == "budget: $34.00 of the $40.00 budget spent (85%)"
    sweep.now += 15.0
    with pytest.raises(BudgetReachedError):
        sweep.guard.watch()
    (stop,) = sweep.events("budget_stop")
    assert stop["text"] == "stopped at the budget: $49.00 of the $40.00 budget spent"
