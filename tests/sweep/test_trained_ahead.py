"""The baseline's final runs fill workers that a ranking leaves idle, and are taken up, or saved, as they are."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from paramalloc.config import SweepConfig
from paramalloc.data.prepare import prepare
from paramalloc.files import read_jsonl
from paramalloc.plan import Plan, make_plan
from paramalloc.results import FINALISTS, FINISHED, RANKING, ResultsFolder
from paramalloc.sweep.display import Display, plain_line, stage_table
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.machines.ray_session import RaySession
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.rules.stopping import NeverStop
from paramalloc.sweep.session import Session, require_hope
from paramalloc.sweep.stopped import SweepStoppedError
from paramalloc.sweep.trials.tasks import finalist_tasks, ranking_tasks
from paramalloc.sweep.trials.work import make_sweep_data
from tests.sweep.played import FAILED, PlayedSweep
from tests.sweep.tiny import STARTED, VERSIONS

RATE = 6e-3
# Long enough for a second worker to start meanwhile.
LONG_RANKING: dict[str, Any] = {"ranking": {"tokens": 120_000, "eval_interval_tokens": 30_000}}


class Scene:
    """A session on the test's Ray: two workers, rankings of the baseline and `wide`."""

    def __init__(self, config: SweepConfig, root: Path) -> None:
        self.plan: Plan = make_plan(config)
        self.folder, vocab = ResultsFolder(root), config.model.vocab_size
        tokens = prepare(config.data, vocab, lambda text: None)
        self.data = make_sweep_data({vocab: tokens}, vocab, 2_000)

    @contextmanager
    def session(self) -> Iterator[Session]:
        with Display(Console(quiet=True)) as display, RaySession(verbose=False) as ray_session:
            journal = Journal(self.folder, self.plan.config.cost, display.say)
            with Session(self.plan, self.data, self.folder, journal, display, ray_session) as session:
                yield session

    def rank(self, session: Session, *variants: str) -> StageRecorder:
        tasks = [task for task in ranking_tasks(self.plan.stages[0], {}) if task.name in variants]
        return session.train(self.plan, tasks, NeverStop(), retry_failed=True)

    def train_ahead(self, session: Session) -> None:
        session.train_ahead(self.plan, finalist_tasks(self.plan, {"base": RATE}))

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [row for row in read_jsonl(self.folder.events) if row["event"] == kind]


def test_a_final_run_begins_while_a_ranking_leaves_a_worker_idle_and_is_done_once(
    tmp_path: Path, tiny: Callable[..., SweepConfig], local_ray: None
) -> None:
    """One ranking run on two workers: the other takes the baseline's final run."""
    scene = Scene(tiny(**LONG_RANKING, training={"tokens": 40_000}), tmp_path / "results")
    with scene.session() as session:
        scene.train_ahead(session)
        ranking = scene.rank(session, "base")
        begun = {(row["stage"], row["trial"]) for row in scene.events("trial_start")}
        assert {(RANKING, "base"), (FINALISTS, "base-seed0")} <= begun
        assert ranking.trials["base"].status == FINISHED
        finals = session.train(
            scene.plan, finalist_tasks(scene.plan, {"base": RATE, "wide": RATE}), NeverStop(), retry_failed=True
        )
    assert {name: trial.status for name, trial in finals.trials.items()} == {
        f"{variant}-seed{seed}": FINISHED for variant in ("base", "wide") for seed in (0, 1)
    }
    started = [row["trial"] for row in scene.events("trial_start") if row["stage"] == FINALISTS]
    assert sorted(started) == sorted(finals.trials)


def test_what_runs_ahead_is_saved_when_the_sweep_ends_before_its_stage(
    tmp_path: Path, tiny: Callable[..., SweepConfig], local_ray: None
) -> None:
    scene = Scene(tiny(**LONG_RANKING, training={"tokens": 4_000_000}), tmp_path / "results")

    def stopped_after_the_ranking() -> None:
        with scene.session() as session:
            scene.train_ahead(session)
            scene.rank(session, "base")
            raise SweepStoppedError("the baseline failed")

    with pytest.raises(SweepStoppedError, match="the baseline failed"):
        stopped_after_the_ranking()
    assert "with nothing lost: the driver stops" in left(scene)[FINALISTS]
    ended = {row["trial"]: row for row in scene.events("trial_end") if row["stage"] == FINALISTS}
    assert ended["base-seed0"]["lost_seconds"] == 0.0


def stop_once_both_run(session: Session, stop: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls `stop` when a trial of the stage and one ahead of it run; it is asked about ten times a second."""
    tick, stopped = session.guard.tick, list[bool]()

    def look(recorder: StageRecorder, busy: Any) -> None:
        tick(recorder, busy)
        if not stopped and recorder.running and session.stages[FINALISTS].running:
            stopped.append(True)
            stop()

    monkeypatch.setattr(session.guard, "tick", look)


def left(scene: Scene) -> dict[str, str]:
    return {row["stage"]: row["text"] for row in scene.events("trial_stopped")}


def test_at_the_end_of_the_budget_what_runs_ahead_saves_its_state_too_and_with_more_all_carry_on(
    tmp_path: Path, tiny: Callable[..., SweepConfig], local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tiny(**LONG_RANKING, training={"tokens": 400_000}), tmp_path / "results")
    with scene.session() as session:
        scene.train_ahead(session)
        stop_once_both_run(session, lambda: setattr(session.guard, "spent_up", True), monkeypatch)
        ranking = scene.rank(session, "base")
        assert ranking.trials["base"].status == FINISHED
    for stage in (RANKING, FINALISTS):
        assert "with nothing lost: the driver stops" in left(scene)[stage]
    assert all(row["lost_seconds"] in (0.0, None) for row in scene.events("trial_end"))
    assert {(row["stage"], row["trial"]) for row in scene.events("trial_resumed")} >= {(RANKING, "base")}


def test_after_ctrl_c_what_runs_ahead_saves_its_state_too(
    tmp_path: Path, tiny: Callable[..., SweepConfig], local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tiny(**LONG_RANKING, training={"tokens": 400_000}), tmp_path / "results")

    def interrupted() -> None:
        with scene.session() as session:
            scene.train_ahead(session)
            stop_once_both_run(session, lambda: signal.raise_signal(signal.SIGINT), monkeypatch)
            scene.rank(session, "base")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    for stage in (RANKING, FINALISTS):
        assert "with nothing lost: the driver stops" in left(scene)[stage]


def finals(sweep: PlayedSweep) -> StageRecorder:
    plan = make_plan(sweep.config)
    tasks = finalist_tasks(plan, {"base": RATE})
    return StageRecorder(sweep.folder, plan, tasks, sweep.data, sweep.journal, NeverStop(), VERSIONS)


def test_the_display_shows_what_runs_ahead_below_the_stage(sweep: PlayedSweep) -> None:
    ahead = finals(sweep)
    sweep.begin("base")
    ahead.receive("base-seed0", STARTED)
    names = list(stage_table(sweep.recorder, ahead).columns[0].cells)
    assert names == ["base *", "wide", "slow", "finalists: base-seed0 *"]
    assert "base-seed0 0%" in plain_line(sweep.recorder, ahead)


def test_a_baseline_that_cannot_finish_the_final_ends_the_sweep_early(sweep: PlayedSweep) -> None:
    ahead = finals(sweep)
    for seed in (0, 1):
        require_hope(ahead)
        ahead.receive(f"base-seed{seed}", STARTED)
        ahead.receive(f"base-seed{seed}", {"kind": "diverged", "step": 1, "tokens": 128})
    with pytest.raises(SweepStoppedError, match="no run of the baseline can finish finalists"):
        require_hope(ahead)


def test_an_error_that_two_runs_ahead_share_ends_the_sweep(sweep: PlayedSweep) -> None:
    ahead = finals(sweep)
    for seed in (0, 1):
        ahead.receive(f"base-seed{seed}", STARTED)
        ahead.receive(f"base-seed{seed}", FAILED)
    with pytest.raises(SweepStoppedError, match="base-seed0 and base-seed1 broke down in the same way"):
        require_hope(ahead)
