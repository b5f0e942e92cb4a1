"""A sweep on nodes that come and go: it waits, moves, loses at most what was not saved; its numbers are the same."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.local_cluster import Driver, LocalCluster
from paramalloc.config import SweepConfig
from paramalloc.files import read_json, read_jsonl
from paramalloc.results import FINALISTS, RANKING, ResultsFolder
from paramalloc.sweep.driver import run_sweep
from paramalloc.sweep_file import dump_sweep
from tests.sweep.outcomes import numbers

pytestmark = pytest.mark.long
EXIT_INTERRUPTED = 130


@pytest.fixture(scope="module")
def long_ranking(tiny: Callable[..., SweepConfig]) -> SweepConfig:
    """Two trials that take some seconds, so that there is time to disturb them."""
    return tiny(
        experiments=[{"name": "base"}, {"name": "wide", "glu_expansion": 4.0}],
        ranking={"tokens": 300_000, "eval_interval_tokens": 10_000, "stop": "none"},
        finalists={"seeds": [0]},
        sanity={"enabled": False},
    )


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, long_ranking: SweepConfig, local_ray: None
) -> dict[str, Any]:
    folder = ResultsFolder(tmp_path_factory.mktemp("undisturbed") / "tiny")
    with folder.root.with_suffix(".log").open("w") as stream:
        assert run_sweep(long_ranking, folder, Console(file=stream), verbose=False) == 0
    return numbers(folder)


@pytest.fixture(scope="module")
def cluster(undisturbed: dict[str, Any]) -> Iterator[LocalCluster]:
    with LocalCluster() as cluster:
        yield cluster


def start(cluster: LocalCluster, config: SweepConfig, folder: ResultsFolder) -> Driver:
    folder.root.parent.mkdir(exist_ok=True)
    sweep = folder.root.with_suffix(".yaml")
    sweep.write_text(dump_sweep(config))
    return Driver(sweep, folder, cluster.address)


def evaluations(driver: Driver, trial: str) -> int:
    return len(read_jsonl(driver.folder.trial(RANKING, trial).history))


def only_once(folder: ResultsFolder) -> bool:
    """Whether no curve has a doubled or unsorted line."""
    curves = [
        [row["tokens"] for row in read_jsonl(trial.history)]
        for stage in (RANKING, FINALISTS)
        for trial in folder.trials(stage)
    ]
    return all(tokens == sorted(set(tokens)) for tokens in curves)


def test_a_sweep_waits_for_machines_leaves_one_that_goes_and_survives_one_that_dies(
    cluster: LocalCluster, long_ranking: SweepConfig, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    driver = start(cluster, long_ranking, ResultsFolder(tmp_path / "tiny"))
    (waiting,) = driver.wait_for(lambda: driver.events("waiting"))
    assert waiting["text"] == "waiting: each of 2 trials needs 1 CPU, cluster has 0"
    nodes = {node.node_id: node for node in (cluster.add(), cluster.add())}
    driver.wait_for(lambda: evaluations(driver, "base") >= 2 and evaluations(driver, "wide") >= 1)
    first = {row["trial"]: row["node"] for row in driver.events("trial_start")}
    assert set(first.values()) == set(nodes)

    cluster.notice(nodes[first["base"]])
    (left,) = driver.wait_for(lambda: driver.events("trial_preempted"))
    spare = cluster.add()
    (resumed,) = driver.wait_for(lambda: driver.events("trial_resumed"))
    assert (left["trial"], left["node"], resumed["trial"]) == ("base", first["base"], "base")
    assert resumed["tokens"] == left["tokens"]  # nothing was lost

    cluster.kill(nodes[first["wide"]])
    (lost,) = driver.wait_for(lambda: driver.events("trial_lost"))
    assert (lost["trial"], lost["node"]) == ("wide", first["wide"])
    code, said = driver.end()

    assert code == 0, said
    assert numbers(driver.folder) == undisturbed
    assert only_once(driver.folder)
    assert {row["node"] for row in driver.events("trial_start")[2:]} == {spare.node_id}
    assert {row["node"]: row["why"] for row in driver.events("node_down")} == {
        first["base"]: "drained",  # its two minutes are not up
        first["wide"]: "lost",
    }
    metrics = {name: read_json(driver.folder.trial(RANKING, name).metrics) for name in ("base", "wide")}
    assert (metrics["base"]["preemptions"], metrics["base"]["lost_seconds"]) == (1, 0.0)
    assert metrics["wide"]["preemptions"] == 1
    assert metrics["wide"]["lost_seconds"] > 0
    assert read_json(driver.folder.cost_summary)["by_use"]["lost_to_preemption"]["node_seconds"] > 0
    cluster.kill(spare)


def test_ctrl_c_saves_every_trial_and_the_same_command_carries_on_elsewhere(
    cluster: LocalCluster, long_ranking: SweepConfig, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    node = cluster.add(cpus=2)
    folder = ResultsFolder(tmp_path / "tiny")
    driver = start(cluster, long_ranking, folder)
    driver.wait_for(lambda: evaluations(driver, "base") >= 2 and evaluations(driver, "wide") >= 1)
    driver.signal(signal.SIGINT)
    code, said = driver.end()
    assert code == EXIT_INTERRUPTED, said
    stopped = {row["trial"]: row["tokens"] for row in driver.events("trial_stopped")}
    assert set(stopped) == {"base", "wide"}
    cluster.kill(node)
    cluster.add(cpus=2)
    driver = start(cluster, long_ranking, folder)
    code, said = driver.end()
    assert code == 0, said
    assert {row["trial"]: row["tokens"] for row in driver.events("trial_resumed")} == stopped
    assert numbers(folder) == undisturbed
    assert only_once(folder)
    assert {read_json(trial.metrics)["lost_seconds"] for trial in folder.trials(RANKING)} == {0.0}
