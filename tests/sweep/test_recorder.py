"""The driver's bookkeeping without Ray: histories, late verdicts, lost workers, and a new driver's memory."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cost.ledger import heartbeat
from paramalloc.config import SweepConfig
from paramalloc.files import append_jsonl, read_json, read_jsonl
from paramalloc.plan import make_plan
from paramalloc.results import RANKING, ResultsFolder
from paramalloc.sweep.attempts import MAX_DEATHS
from paramalloc.sweep.display import Display, plain_line, stage_table
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.kill_rule import KillRule
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.tasks import ranking_tasks
from paramalloc.sweep.work import SweepData

VERSIONS = {"git_sha": None, "torch_version": "2", "ray_version": "2"}
STARTED = {
    "kind": "started",
    "device": "cpu",
    "precision": "fp32",
    "resumed_at_tokens": 0,
    "history": [],
    "node": "n1",
    "share": 0.5,
}
FAILED = {"kind": "failed", "error": "ValueError: no", "place": "loop.py:7 in step", "traceback": "Traceback: no"}
NODE = {"node": "n1", "kind": "head", "gpus": 0.0, "cpus": 2.0}


class Sweep:
    """A stage whose trials are played by the test; `again()` is a new driver on the same files."""

    def __init__(self, config: SweepConfig, root: Path, data: SweepData) -> None:
        self.config, self.folder, self.data = config, ResultsFolder(root), data
        self.clock = itertools.count(1_000_000.0, 1.0)
        self.said: list[str] = []
        self.again()

    def again(self, retry_failed: bool = False) -> None:
        from cost import ledger

        self.journal = Journal(self.folder, self.config.cost, self.said.append, clock=lambda: next(self.clock))
        self.journal.bill(ledger.node_up, **NODE)
        plan = make_plan(self.config)
        rule = KillRule({"wide": "base", "slow": "base"}, margin_ppl=5.0, window_tokens=4_000)
        self.recorder = StageRecorder(
            self.folder,
            plan,
            ranking_tasks(plan, {}),
            self.data,
            self.journal,
            rule,
            VERSIONS,
            retry_failed=retry_failed,
        )

    def begin(self, trial: str, **changes: Any) -> bool:
        return self.recorder.receive(trial, STARTED | changes)

    def evaluate(self, trial: str, tokens: int, ppl: float) -> bool:
        return self.recorder.receive(trial, {"kind": "evaluation", "row": row(tokens, ppl)})

    def finish(self, trial: str) -> bool:
        scores = {f"{s}_{n}": 9.0 for s in ("dev", "test") for n in ("loss", "ppl", "bpb", "word_ppl")}
        scores |= {"dev_ppl_per_baseline_token": 9.0, "test_ppl_per_baseline_token": 9.0}
        payload = {"scores": scores, "latency_ms": None, "tokens_per_second": 5.0, "peak_memory_mb": None}
        return self.recorder.receive(trial, {"kind": "finished", **payload})

    def metrics(self, trial: str) -> dict[str, Any]:
        return read_json(self.folder.trial(RANKING, trial).metrics)

    def fail(self, trial: str, **changes: Any) -> bool:
        """It breaks down, is started again, and breaks down in the same way."""
        self.recorder.receive(trial, FAILED | changes)
        self.recorder.lost(trial, "its own error", set())
        self.begin(trial)
        return self.recorder.receive(trial, FAILED | changes)

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [entry for entry in read_jsonl(self.folder.events) if entry["event"] == kind]

    def history(self, trial: str) -> list[int]:
        return [entry["tokens"] for entry in read_jsonl(self.folder.trial(RANKING, trial).history)]

    def kills(self) -> list[str]:
        return [entry["trial"] for entry in read_jsonl(self.folder.decisions) if entry["decision"] == "kill"]


def row(tokens: int, ppl: float) -> dict[str, Any]:
    return {
        "step": tokens // 128,
        "tokens": tokens,
        "train_loss": 1.0,
        "dev_ppl": ppl,
        "dev_ppl_per_baseline_token": ppl,
        "training_seconds": tokens / 1000,
    }


@pytest.fixture
def sweep(tmp_path: Path, tiny: Callable[..., SweepConfig]) -> Sweep:
    from paramalloc.data.prepare import prepare
    from paramalloc.sweep.work import make_sweep_data

    config = tiny()
    tokens = prepare(config.data, config.model.vocab_size, lambda text: None)
    data = make_sweep_data({config.model.vocab_size: tokens}, config.model.vocab_size, 2_000)
    return Sweep(config, tmp_path / "results", data)


POINTS = range(2_000, 14_000, 2_000)


def play(sweep: Sweep, trial: str, ppl: float, points: range = POINTS) -> list[bool]:
    return [sweep.evaluate(trial, tokens, ppl) for tokens in points]


def test_a_trial_that_loses_is_told_to_stop_and_closed_where_it_lost(sweep: Sweep) -> None:
    sweep.begin("base")
    play(sweep, "base", 10.0)
    sweep.begin("wide")
    assert play(sweep, "wide", 16.0) == [False, False, True, True, True, True]
    sweep.recorder.ended("wide")
    assert sweep.metrics("wide")["status"] == "killed"
    assert sweep.metrics("wide")["tokens"] == 6_000
    assert sweep.history("wide") == [2_000, 4_000, 6_000]
    assert sweep.said == ["wide killed at 0.01M tokens: 6.0 above base for 0.00M tokens"]


def test_a_finished_trial_is_still_killed_when_the_baseline_shows_that_it_had_lost(sweep: Sweep) -> None:
    """So the verdict is the same whichever of the two was slow, or was preempted."""
    sweep.begin("wide")
    assert not any(play(sweep, "wide", 16.0))
    sweep.finish("wide")
    sweep.recorder.ended("wide")
    assert sweep.metrics("wide")["status"] == "finished"
    sweep.begin("base")
    play(sweep, "base", 10.0)
    assert sweep.metrics("wide")["status"] == "killed"
    assert sweep.metrics("wide")["dev_ppl"] is None
    assert sweep.history("wide") == [2_000, 4_000, 6_000]


def test_a_restarted_trial_rewinds_its_history_to_its_checkpoint_and_doubles_nothing(sweep: Sweep) -> None:
    sweep.begin("base")
    play(sweep, "base", 10.0, range(2_000, 10_000, 2_000))
    sweep.recorder.interrupted("base")
    sweep.begin("base", resumed_at_tokens=4_000, history=[row(2_000, 10.0), row(4_000, 10.0)])
    assert sweep.history("base") == [2_000, 4_000]
    play(sweep, "base", 10.0, range(6_000, 14_000, 2_000))
    sweep.finish("base")
    assert sweep.history("base") == list(POINTS)
    assert sweep.metrics("base")["preemptions"] == 0  # the driver stopped it, no machine was lost
    assert any("carries on at 0.00M" in text for text in sweep.said)


def test_rows_that_a_dead_driver_never_wrote_come_back_with_the_checkpoint(sweep: Sweep) -> None:
    sweep.begin("base")
    play(sweep, "base", 10.0, range(2_000, 4_000, 2_000))
    sweep.again()
    sweep.begin("base", resumed_at_tokens=6_000, history=[row(t, 10.0) for t in (2_000, 4_000, 6_000)])
    assert sweep.history("base") == [2_000, 4_000, 6_000]


def test_a_new_driver_has_the_same_rule_and_runs_only_what_is_missing(sweep: Sweep) -> None:
    sweep.begin("base")
    play(sweep, "base", 10.0)
    sweep.finish("base")
    sweep.begin("wide")
    play(sweep, "wide", 16.0, range(2_000, 6_000, 2_000))
    sweep.again()
    assert [task.name for task in sweep.recorder.missing] == ["wide", "slow"]
    sweep.begin("wide", resumed_at_tokens=4_000, history=[row(2_000, 16.0), row(4_000, 16.0)])
    assert sweep.evaluate("wide", 6_000, 16.0)
    sweep.recorder.ended("wide")
    assert sweep.kills() == ["wide"]


def test_a_driver_that_died_between_verdict_and_closing_closes_when_it_returns(sweep: Sweep) -> None:
    sweep.begin("base")
    play(sweep, "base", 10.0)
    sweep.finish("base")
    sweep.begin("wide")
    play(sweep, "wide", 16.0, range(2_000, 8_000, 2_000))
    assert not sweep.folder.trial(RANKING, "wide").metrics.exists()
    sweep.again()
    metrics = sweep.metrics("wide")
    assert (metrics["status"], metrics["device"], metrics["precision"]) == ("killed", "cpu", "fp32")
    assert sweep.kills() == ["wide"]  # once, not again for the second driver
    assert [task.name for task in sweep.recorder.missing] == ["slow"]
    ends = [row for row in read_jsonl(sweep.folder.events) if row["event"] == "trial_end" and row["trial"] == "wide"]
    assert [row["status"] for row in ends] == ["killed"]


def test_a_torn_last_line_of_a_history_costs_only_that_line(sweep: Sweep) -> None:
    sweep.begin("base")
    play(sweep, "base", 10.0, range(2_000, 6_000, 2_000))
    path = sweep.folder.trial(RANKING, "base").history
    path.write_bytes(path.read_bytes()[:-20])
    sweep.again()
    assert sweep.history("base") == [2_000]
    append_jsonl(path, row(4_000, 10.0))
    assert sweep.history("base") == [2_000, 4_000]


def test_a_diverged_trial_is_closed_at_once(sweep: Sweep) -> None:
    sweep.begin("wide")
    assert sweep.recorder.receive("wide", {"kind": "diverged", "step": 20, "tokens": 2_560})
    assert sweep.metrics("wide")["status"] == "diverged"
    assert sweep.metrics("wide")["tokens"] == 2_560
    assert sweep.metrics("wide")["train_loss"] is None


def test_a_trial_that_breaks_down_is_tried_once_more_and_then_failed_with_its_traceback(sweep: Sweep) -> None:
    sweep.begin("wide")
    assert not sweep.recorder.receive("wide", FAILED)
    assert not sweep.folder.trial(RANKING, "wide").metrics.exists()
    sweep.recorder.lost("wide", "its own error", set())
    sweep.begin("wide")
    assert sweep.recorder.receive("wide", FAILED)
    assert sweep.folder.trial(RANKING, "wide").error.read_text() == "Traceback: no\n"
    assert sweep.metrics("wide")["status"] == "failed"
    assert sweep.events("trial_lost") == []
    assert not sweep.recorder.hopeless


def test_a_trial_whose_second_try_succeeds_keeps_no_error(sweep: Sweep) -> None:
    sweep.begin("base")
    sweep.recorder.receive("base", FAILED)
    assert sweep.folder.trial(RANKING, "base").error.exists()
    sweep.begin("base")
    play(sweep, "base", 10.0)
    sweep.finish("base")
    assert sweep.metrics("base")["status"] == "finished"
    assert not sweep.folder.trial(RANKING, "base").error.exists()


def test_the_same_first_error_in_two_trials_stops_the_sweep_and_another_does_not(sweep: Sweep) -> None:
    for trial in ("base", "wide", "slow"):
        sweep.begin(trial)
    sweep.recorder.receive("base", FAILED)
    sweep.recorder.receive("wide", FAILED | {"place": "loop.py:8 in step"})
    assert not sweep.recorder.hopeless
    sweep.recorder.receive("slow", FAILED)
    assert sweep.recorder.hopeless
    assert sweep.recorder.epidemic == "base and slow broke down in the same way: ValueError: no (loop.py:7 in step)"


def test_a_worker_that_dies_again_and_again_without_progress_is_a_failure(sweep: Sweep) -> None:
    for death in range(MAX_DEATHS):
        assert sweep.recorder.trials["wide"].status == "waiting", death
        sweep.recorder.lost("wide", "out of memory", set())
    assert sweep.metrics("wide")["status"] == "failed"
    assert sweep.metrics("wide")["device"] is None
    assert "died 5 times at 0.00M tokens" in sweep.folder.trial(RANKING, "wide").error.read_text()


def test_lost_machines_and_deaths_with_progress_between_them_never_make_a_failure(sweep: Sweep) -> None:
    lost: set[str] = set()
    for tokens in range(2_000, 2_000 * 2 * MAX_DEATHS, 2_000):
        sweep.begin("wide")
        sweep.evaluate("wide", tokens, 10.0)
        sweep.recorder.lost("wide", "it died", lost)
    for number in range(2 * MAX_DEATHS):
        sweep.begin("wide", node=f"n{number}")
        lost.add(f"n{number}")
        sweep.recorder.lost("wide", "its machine is gone", lost)
    assert sweep.recorder.trials["wide"].status == "waiting"


def test_a_notice_costs_nothing_and_a_lost_worker_what_came_after_the_state_that_was_kept(sweep: Sweep) -> None:
    called = {"kind": "preempted", "reason": "spot notice", "by_notice": True, "step": 16, "tokens": 2_048}
    sweep.begin("base")
    sweep.recorder.receive("base", called)
    sweep.recorder.lost("base", "called back", set())
    sweep.begin("base", resumed_at_tokens=2_048)
    sweep.evaluate("base", 4_000, 10.0)
    sweep.evaluate("base", 6_000, 10.0)
    sweep.recorder.lost("base", "it died", set())
    sweep.begin("base", resumed_at_tokens=5_000, history=[row(2_000, 10.0), row(4_000, 10.0)])
    play(sweep, "base", 10.0, range(6_000, 14_000, 2_000))
    sweep.finish("base")
    ends = [event["lost_seconds"] for event in sweep.events("trial_end")]
    (first,) = sweep.events("trial_preempted")
    (death,) = sweep.events("trial_lost")
    assert first["tokens"] == 2_048
    assert ends[0] == 0.0
    # Half of the way from 4,000 to 6,000 tokens was kept, and all up to there.
    assert 0.5 <= ends[1] < death["time"] - first["time"]
    assert sweep.metrics("base")["lost_seconds"] == ends[1]
    assert sweep.metrics("base")["preemptions"] == 2
    bill = sweep.journal.cost_summary()
    assert bill["by_use"]["lost_to_preemption"]["node_seconds"] > 0
    assert sweep.history("base") == [2_000, 4_000, *range(6_000, 14_000, 2_000)]


def test_what_a_dead_driver_left_open_is_billed_as_lost_from_the_state_that_was_kept(sweep: Sweep) -> None:
    sweep.begin("base")
    play(sweep, "base", 10.0, range(2_000, 8_000, 2_000))
    sweep.journal.bill(heartbeat)
    ended = sweep.journal.clock() - 1
    sweep.again()
    sweep.begin("base", resumed_at_tokens=2_000, history=[row(2_000, 10.0)])
    began, (end,) = sweep.events("trial_start")[0]["time"], sweep.events("trial_end")
    assert end["session"] == sweep.events("session_start")[0]["session"]
    assert end["lost_seconds"] == pytest.approx(ended - began - 2)  # 2,000 tokens at a thousand per second were kept


def test_the_last_report_given_twice_changes_nothing(sweep: Sweep) -> None:
    """Ray repeats a trial's last report when its function returns."""
    sweep.begin("base")
    play(sweep, "base", 10.0)
    sweep.finish("base")
    before = {path: path.read_bytes() for path in sweep.folder.root.rglob("*") if path.is_file()}
    assert sweep.finish("base")
    assert before == {path: path.read_bytes() for path in sweep.folder.root.rglob("*") if path.is_file()}


def test_the_display_shows_each_trial_its_gap_and_what_is_left(sweep: Sweep) -> None:
    sweep.begin("base")
    play(sweep, "base", 10.0, range(2_000, 8_000, 2_000))
    sweep.begin("wide")
    sweep.evaluate("wide", 2_000, 12.5)
    table = stage_table(sweep.recorder)
    cells = {
        name: list(column.cells)
        for name, column in zip(("trial", "tokens", "ppl", "gap", "state", "rate", "eta"), table.columns, strict=True)
    }
    assert cells["trial"] == ["base *", "wide", "slow"]
    assert cells["gap"] == ["", "+2.50", ""]
    assert [str(state) for state in cells["state"]] == ["running", "running", "waiting"]
    assert cells["rate"] == ["1,000", "1,000", ""]
    assert cells["eta"][0] == "6s"  # 6,032 tokens are left at 1,000 a second
    assert plain_line(sweep.recorder).startswith("ranking: 0 of 3 done, about")


@pytest.mark.parametrize("ending", ["failed", "diverged"])
def test_a_trial_that_failed_or_diverged_ahead_of_the_baseline_stays_so_and_in_a_new_session_too(
    sweep: Sweep, ending: str
) -> None:
    sweep.begin("wide")
    play(sweep, "wide", 16.0)
    if ending == "failed":
        sweep.fail("wide")
    else:
        sweep.recorder.receive("wide", {"kind": "diverged", "step": 100, "tokens": 12_800})
    sweep.begin("base")
    play(sweep, "base", 10.0)
    assert sweep.metrics("wide")["status"] == ending
    sweep.again()
    assert sweep.metrics("wide")["status"] == ending
    assert sweep.kills() == []


def test_a_failed_trial_is_tried_again_by_a_new_command_from_its_checkpoint(sweep: Sweep) -> None:
    sweep.begin("base")
    checkpoints = sweep.folder.trial(RANKING, "base").checkpoints
    checkpoints.mkdir(parents=True)
    sweep.fail("base", error="No space left")
    assert sweep.recorder.hopeless
    assert checkpoints.exists()
    assert "base" not in [task.name for task in sweep.recorder.missing]
    sweep.again(retry_failed=True)
    assert "base" in [task.name for task in sweep.recorder.missing]


def test_what_was_billed_as_useful_is_billed_as_killed_after_a_late_verdict(sweep: Sweep) -> None:
    sweep.begin("wide")
    play(sweep, "wide", 16.0)
    sweep.finish("wide")
    sweep.begin("base")
    play(sweep, "base", 10.0)
    (line,) = [line for line in sweep.journal.cost_summary()["by_trial"] if line["trial"] == "wide"]
    assert line["status"] == "killed"
    assert set(line["by_use"]) == {"killed_by_rule"}


def screen(written: str) -> list[str]:
    """The lines that a terminal shows after `written`: line feeds, carriage returns, cursor up and erase line."""
    lines, at = [""], 0
    for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)", written):
        if part == "\n":
            at += 1
            lines.extend([""] * (at + 1 - len(lines)))
        elif part.endswith("A") and part.startswith("\x1b["):
            at = max(0, at - int(part[2:-1] or 1))
        elif part == "\x1b[2K":
            lines[at] = ""
        elif part and part[0] not in "\r\x1b":
            lines[at] += part
    return lines


def test_the_table_of_each_stage_stays_on_the_screen(sweep: Sweep) -> None:
    stream = io.StringIO()
    with Display(Console(file=stream, force_terminal=True, color_system=None, width=100)) as display:
        for _ in range(2):
            display.show(sweep.recorder)
            display.refresh()
            display.end_stage()
    names = [line.split()[0] for line in screen(stream.getvalue()) if line.split()[1:2] == ["0.00/0.01"]]
    assert names == ["wide", "slow"] * 2


def test_an_attempt_that_an_earlier_driver_ended_in_order_is_not_billed_again(sweep: Sweep) -> None:
    sweep.begin("base")
    sweep.evaluate("base", 2_000, 10.0)
    sweep.recorder.interrupted("base")
    sweep.again()
    sweep.begin("base", resumed_at_tokens=2_000, history=[row(2_000, 10.0)])
    assert len(sweep.events("trial_end")) == 1
