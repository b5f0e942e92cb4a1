"""The sweep as a user runs it: to its report, twice, with a trial that fails, with a driver that is killed."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from rich.console import Console

from paramalloc.config import SweepConfig
from paramalloc.data.corpus import open_corpus
from paramalloc.errors import EXIT_USER_ERROR, UserError
from paramalloc.files import read_json, read_jsonl, write_json
from paramalloc.results import FINALISTS, RANKING, SANITY, ResultsFolder
from paramalloc.storage.checkpoints import SharedCheckpoints
from paramalloc.storage.objects import open_objects
from paramalloc.storage.session import fetch
from paramalloc.sweep.driver import run_sweep
from paramalloc.sweep.stopped import EXIT_TRIAL_FAILED, SweepStoppedError
from paramalloc.sweep_file import dump_sweep
from tests.chaos.drivers import Driver
from tests.s3_server import S3Server, let_lease_expire
from tests.sweep.outcomes import MEASUREMENT, NotMeasured, numbers, without_measurements
from tests.sweep.tiny import ONE_AT_A_TIME

EXIT_INTERRUPTED = 130


def run(config: SweepConfig, folder: ResultsFolder, expected: int = 0, measured: bool = False) -> str:
    """Run a sweep in this process; returns what it printed.

    `measured`: with latency and memory of its finalists, which takes about as long as all of its trials.
    """
    path = folder.root.with_suffix(".log")
    with path.open("w") as stream, ExitStack() as stack:
        if not measured:
            stack.enter_context(patch(MEASUREMENT, NotMeasured))
        assert run_sweep(config, folder, Console(file=stream, width=100), verbose=False) == expected
    return path.read_text()


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., SweepConfig], local_ray: None
) -> tuple[ResultsFolder, str]:
    """One sweep that ran through without a disturbance, and what it printed."""
    folder = ResultsFolder(tmp_path_factory.mktemp("results") / "tiny")
    return folder, run(tiny(), folder, measured=True)


def statuses(folder: ResultsFolder, stage: str) -> dict[str, str]:
    return {
        trial.name: read_json(trial.metrics)["status"] for trial in folder.trials(stage) if trial.metrics.exists()
    }


def test_a_sweep_goes_through_ranking_a_kill_and_finalists_to_its_report(
    undisturbed: tuple[ResultsFolder, str],
) -> None:
    folder, said = undisturbed
    assert statuses(folder, RANKING) == {"base": "finished", "slow": "killed", "wide": "finished"}
    assert set(statuses(folder, FINALISTS)) == {f"{name}-seed{seed}" for name in ("base", "wide") for seed in (0, 1)}
    kill = next(row for row in read_jsonl(folder.decisions) if row["decision"] == "kill")
    assert f"slow killed at {kill['tokens']:,} tokens" in said
    verdict = next(row for row in read_jsonl(folder.decisions) if row["decision"] == "winner")
    assert verdict["sentence"] in folder.report.read_text()
    assert read_json(folder.plan)["estimate"]["price"] == "cost.fixed_usd_per_hour"
    assert verdict["sentence"] in " ".join(said.split())
    for path in (folder.sweep, folder.plan, folder.events, folder.cost_summary, folder.summary_csv):
        assert path.stat().st_size > 0


def test_the_kill_is_the_one_that_the_curves_on_disk_call_for(undisturbed: tuple[ResultsFolder, str]) -> None:
    folder, _ = undisturbed
    base, slow = (read_jsonl(folder.trial(RANKING, name).history) for name in ("base", "slow"))
    (kill,) = [row for row in read_jsonl(folder.decisions) if row["decision"] == "kill"]
    gaps = {s["tokens"]: s["dev_ppl"] - b["dev_ppl"] for b, s in zip(base, slow, strict=False)}
    assert kill["gap_ppl"] == gaps[kill["tokens"]]
    window = [gap for tokens, gap in gaps.items() if kill["tokens"] - kill["for_tokens"] <= tokens]
    assert min(window) >= 5.0
    assert kill["for_tokens"] >= 4_000
    assert slow[-1]["tokens"] == kill["tokens"] < base[-1]["tokens"]
    assert not folder.trial(RANKING, "slow").checkpoints.exists()


def test_history_has_each_evaluation_once_and_metrics_say_what_was_trained(
    undisturbed: tuple[ResultsFolder, str],
) -> None:
    folder, _ = undisturbed
    for stage in (RANKING, FINALISTS):
        for trial in folder.trials(stage):
            tokens = [row["tokens"] for row in read_jsonl(trial.history)]
            assert tokens == sorted(set(tokens))
            metrics = read_json(trial.metrics)
            assert metrics["tokens"] == tokens[-1]
            finished = metrics["status"] == "finished"
            assert (metrics["test_bpb"] is not None) == finished
            assert (metrics["latency_ms"] is not None) == finished
            assert (metrics["profiled_alone"] is not None) == (stage == FINALISTS)
            assert (metrics["decode_tokens_per_second"] is not None) == (stage == FINALISTS)
            assert metrics["smallbench"] is None


def test_the_bill_adds_up_and_knows_every_trial(undisturbed: tuple[ResultsFolder, str]) -> None:
    folder, _ = undisturbed
    bill = read_json(folder.cost_summary)
    checks = {(SANITY, "overfit-base"), (SANITY, "lr_find-base")}
    assert {(line["stage"], line["trial"]) for line in bill["by_trial"]} == checks | {
        (stage, trial.name) for stage in (RANKING, FINALISTS) for trial in folder.trials(stage)
    }
    assert bill["total_usd"] == 0
    milliseconds = [round(1000 * use["node_seconds"]) for use in bill["by_use"].values()]
    assert sum(milliseconds) == round(1000 * bill["node_seconds"]) > 0


def test_a_second_run_of_a_finished_sweep_changes_nothing(
    undisturbed: tuple[ResultsFolder, str], tiny: Callable[..., SweepConfig]
) -> None:
    folder, _ = undisturbed
    before = {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}
    assert "done already" in run(tiny(), folder)
    assert before == {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}


def test_a_changed_sweep_is_refused_with_the_difference_and_a_changed_budget_is_not(
    undisturbed: tuple[ResultsFolder, str], tiny: Callable[..., SweepConfig]
) -> None:
    folder, _ = undisturbed
    with pytest.raises(UserError, match=r"model\.total_params: 100000 -> 120000") as caught:
        run(tiny(model={"total_params": 120_000}), folder)
    assert "--fresh" in str(caught.value)
    assert "done already" in run(tiny(cost={"budget_usd": 7}), folder)


@pytest.mark.long
def test_learning_rates_are_tried_or_found_and_a_sweep_that_grows_is_carried_on(
    tmp_path: Path, tiny: Callable[..., SweepConfig], local_ray: None
) -> None:
    experiments = [
        {"name": "base", "learning_rate": [1e-3, 6e-3]},
        {"name": "wide", "glu_expansion": 4.0, "learning_rate": "auto"},
    ]
    folder = ResultsFolder(tmp_path / "rates")
    sections: dict[str, Any] = {
        "finalists": {"seeds": [0]},
        "evaluation": {"metrics": ["smallbench_accuracy"]},
        **ONE_AT_A_TIME,
    }
    run(tiny(experiments=experiments, **sections), folder)
    assert statuses(folder, RANKING) == {"base@lr0.001": "finished", "base@lr0.006": "finished", "wide": "finished"}
    found = read_json(folder.lr_find("wide"))["suggestion"]
    rates = {trial.name: read_json(trial.metrics)["learning_rate"] for trial in folder.trials(FINALISTS)}
    assert rates == {"base-seed0": 6e-3, "wide-seed0": found}
    assert (folder.figures / "loss_vs_learning_rate.png").exists()
    probed = read_json(folder.trial(FINALISTS, "wide-seed0").metrics)["smallbench"]
    assert {task["n"] for task in probed.values()} == {500}
    assert "## SmallBench" in folder.results_page.read_text()
    trials = [trial for stage in (RANKING, FINALISTS) for trial in folder.trials(stage)]
    before = {trial.metrics: without_measurements(read_json(trial.metrics)) for trial in trials}
    said = run(
        tiny(experiments=[*experiments, {"name": "late", "glu_expansion": 2.0, "learning_rate": 6e-3}], **sections),
        folder,
    )
    assert "taken over from the changed sweep file: experiments: late is new" in said
    assert statuses(folder, RANKING)["late"] in ("finished", "killed")
    assert before == {path: without_measurements(read_json(path)) for path in before}
    decided = [row["decision"] for row in read_jsonl(folder.decisions) if row["decision"] != "kill"]
    assert decided == ["learning_rate", "promote", "winner", "reopen", "promote", "winner"]


def test_another_text_under_the_same_name_is_refused(
    tmp_path: Path, tiny: Callable[..., SweepConfig], undisturbed: tuple[ResultsFolder, str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"paragraph {i} of {i * i} words and {i * 7919} more" for i in range(4000)))
    config, folder = tiny(data={"corpus": str(text)}), ResultsFolder(tmp_path / "own")
    shutil.copytree(undisturbed[0].root, folder.root)  # as if they had been made with this text
    folder.sweep.write_text(dump_sweep(config))
    write_json(folder.plan, read_json(folder.plan) | {"corpus_fingerprint": open_corpus(config.data).fingerprint()})
    assert "done already" in run(config, folder)
    text.write_text(text.read_text() + "\n\nand something new")
    with pytest.raises(UserError, match="results of another text"):
        run(config, folder)


def test_a_trial_that_raises_or_diverges_is_recorded_and_stops_no_other(
    tmp_path: Path, tiny: Callable[..., SweepConfig], local_ray: None
) -> None:
    config = tiny(
        experiments=[
            {"name": "base"},
            {"name": "broken", "precision": "fp16"},  # which no CPU runs
            {"name": "explosive", "learning_rate": 1e30},
            {"name": "wide", "glu_expansion": 4.0},
        ],
        ranking={"stop": "none"},
        finalists={"seeds": [0]},
        sanity={"enabled": False},
    )
    folder = ResultsFolder(tmp_path / "faulty")
    said = run(config, folder, expected=EXIT_TRIAL_FAILED)
    assert statuses(folder, RANKING) == {
        "base": "finished",
        "broken": "failed",
        "explosive": "diverged",
        "wide": "finished",
    }
    assert "training.precision" in folder.trial(RANKING, "broken").error.read_text()
    assert "Traceback" in folder.trial(RANKING, "broken").error.read_text()
    assert said.index("broken broke down and is tried once more:") < said.index("broken failed:")
    assert "explosive diverged" in said
    assert set(statuses(folder, FINALISTS)) == {"base-seed0", "wide-seed0"}


def test_the_same_error_in_two_trials_stops_the_sweep_with_it_on_the_screen(
    tmp_path: Path, tiny: Callable[..., SweepConfig], local_ray: None
) -> None:
    broken = [{"name": name, "precision": "fp16"} for name in ("broken", "another")]
    folder = ResultsFolder(tmp_path / "epidemic")
    with pytest.raises(SweepStoppedError, match=r"broke down in the same way: .*training\.precision"):
        run(
            tiny(experiments=[{"name": "base"}, *broken], ranking={"tokens": 400_000}, sanity={"enabled": False}),
            folder,
        )
    assert "base" not in statuses(folder, RANKING)


def test_a_baseline_that_fails_ends_the_sweep_with_the_reason(
    tmp_path: Path, tiny: Callable[..., SweepConfig], local_ray: None
) -> None:
    experiments = [{"name": "base", "precision": "fp16"}, {"name": "wide", "glu_expansion": 4.0}]
    with pytest.raises(SweepStoppedError, match=r"sanity stage failed(?s:.*)training\.precision"):
        run(tiny(experiments=experiments), ResultsFolder(tmp_path / "insane"))
    assert not list(ResultsFolder(tmp_path / "insane").trials(RANKING))
    with pytest.raises(SweepStoppedError, match="base failed"):
        run(tiny(experiments=experiments, sanity={"enabled": False}), ResultsFolder(tmp_path / "lost"))


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An address in a bucket that processes started from here can reach."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with S3Server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server.address


@pytest.mark.long
def test_a_driver_that_is_stopped_and_killed_on_the_way_ends_with_the_same_numbers(
    tmp_path: Path, tiny: Callable[..., SweepConfig], undisturbed: tuple[ResultsFolder, str], s3: str
) -> None:
    """Ctrl-C at the first evaluation, SIGKILL at the next one, and in the finalists with the head's disk."""
    sweep = tmp_path / "tiny.yaml"
    sweep.write_text(dump_sweep(tiny()))
    folder = ResultsFolder(tmp_path / "head" / "tiny", f"{s3}/tiny")
    stored = open_objects(f"{s3}/tiny")

    def rows(stages: tuple[str, ...]) -> int:
        return sum(len(read_jsonl(trial.history)) for stage in stages for trial in folder.trials(stage))

    for stages, signal_number in (
        ((RANKING, FINALISTS), signal.SIGINT),
        ((RANKING, FINALISTS), signal.SIGKILL),
        ((FINALISTS,), signal.SIGKILL),
    ):
        before = rows(stages)
        driver = Driver(sweep, folder, None, measured=True)
        assert driver.wait_for(lambda stages=stages, before=before: rows(stages) > before), driver.log.read_text()
        if stages == (FINALISTS,):
            assert driver.wait_for(lambda: stored.names(f"{FINALISTS}/"))
        driver.signal(signal_number)
        expected = EXIT_INTERRUPTED if signal_number == signal.SIGINT else -signal.SIGKILL
        assert driver.end() == expected, driver.log.read_text()
        assert not folder.report.exists()
    folder.root.rename(tmp_path / "lost")
    driver = Driver(sweep, folder, None, measured=True)
    assert driver.end() == EXIT_USER_ERROR, driver.log.read_text()
    assert "results that another driver is writing" in driver.log.read_text()
    let_lease_expire(stored)
    driver = Driver(sweep, folder, None, measured=True)
    assert driver.end() == 0, driver.log.read_text()
    assert "taking over the results" in driver.log.read_text()
    assert numbers(folder) == numbers(undisturbed[0])
    events = [row["event"] for row in read_jsonl(folder.events)]
    assert events.count("session_start") == 4
    assert "trial_resumed" in events
    fetch(f"{s3}/tiny", tmp_path / "fetched", whole=False)
    assert numbers(ResultsFolder(tmp_path / "fetched")) == numbers(folder)
    assert (tmp_path / "fetched" / folder.report.name).read_bytes() == folder.report.read_bytes()
    finalist = folder.trial(FINALISTS, "wide-seed1")
    assert SharedCheckpoints(finalist, open_objects(f"{s3}/tiny/{FINALISTS}/wide-seed1")).best()
