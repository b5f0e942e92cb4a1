"""How many trials share a GPU: what is tried, what is chosen, and that it is chosen once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from paramalloc.config import SweepConfig
from paramalloc.errors import UserError
from paramalloc.evaluation.profile.together import Together
from paramalloc.files import read_jsonl
from paramalloc.plan import make_plan
from paramalloc.results import ResultsFolder
from paramalloc.sweep import session as session_module
from paramalloc.sweep.display import Display
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.machines.ray_session import Cluster, RaySession
from paramalloc.sweep.runbook.gpu_share import fits, most_demanding, most_sharing, trials_per_gpu, try_sharing
from paramalloc.sweep.session import Session


def at_speeds(speeds: dict[int, float], used_mb: float = 1_000.0) -> Callable[[int], Together]:
    return lambda trials: Together(trials, speeds[trials], trials * used_mb, 16_000.0)


def test_twice_as_many_are_tried_while_that_is_worth_it() -> None:
    measured = try_sharing(at_speeds({1: 100, 2: 180, 4: 190, 8: 999}), most=8)
    assert [each.trials for each in measured] == [1, 2, 4]
    assert trials_per_gpu(measured) == 2


def test_no_more_are_tried_than_are_allowed_or_fit() -> None:
    rising = {1: 100.0, 2: 200.0, 4: 400.0, 8: 800.0}
    assert [each.trials for each in try_sharing(at_speeds(rising), most=3)] == [1, 2]
    assert [each.trials for each in try_sharing(at_speeds(rising, used_mb=3_500.0), most=8)] == [1, 2]
    assert trials_per_gpu(try_sharing(at_speeds(rising), most=8)) == 8


def test_memory_that_nobody_knows_holds_nothing_back() -> None:
    assert fits(Together(1, 1.0, None, None), 8)
    assert fits(Together(1, 1.0, 1_440.0, 16_000.0), 8)
    assert not fits(Together(1, 1.0, 1_441.0, 16_000.0), 8)


def test_no_gpu_is_left_idle_where_there_are_enough_for_all_trials(tiny: Callable[..., SweepConfig]) -> None:
    plan = make_plan(tiny())  # three variants
    assert most_sharing(plan, gpus=8) == 1
    assert most_sharing(plan, gpus=2) == 2
    assert most_sharing(plan, gpus=None) == 3
    assert most_sharing(make_plan(tiny(training={"learning_rate": [1e-3, 2e-3]})), gpus=2) == 3  # "slow" has one
    assert most_demanding(plan).shape in {item.shape for item in plan.variants}


@contextmanager
def choice(config: SweepConfig, folder: ResultsFolder) -> Iterator[Callable[[Cluster], float]]:
    """What a session makes of a cluster's GPUs."""

    class Nodes:
        def tick(self) -> None: ...

    plan = make_plan(config)
    with Display(Console(quiet=True)) as display:
        journal = Journal(folder, config.cost, display.say)
        session = Session(plan, cast(Any, None), folder, journal, display, cast(RaySession, None))
        yield lambda cluster: session._gpus_per_trial(cluster, cast(Any, Nodes()))


ONE_GPU = Cluster(cpus=4, gpus=1, nodes=1, dashboard=None)


def test_a_gpu_is_shared_by_as_many_as_a_measurement_shows_it_to_bear(
    tiny: Callable[..., SweepConfig], tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def measure(run: Any, most: int, *_: Any) -> list[Together]:
        asked.append(most)
        return [Together(1, 100.0, 900.0, 16_000.0), Together(2, 170.0, 1_800.0, 16_000.0)]

    monkeypatch.setattr(session_module, "measure_sharing", measure)
    folder = ResultsFolder(tmp_path / "tiny")
    with choice(tiny(), folder) as gpus_per_trial:
        assert gpus_per_trial(ONE_GPU) == 0.5
    assert asked == [3]
    (told,) = [row for row in read_jsonl(folder.events) if row["event"] == "gpu_share"]
    assert told["text"] == "2 trials on each GPU, by tokens per second: 1 at a time 100, 2 at a time 170"
    assert told["trials_per_gpu"] == 2


def test_a_measurement_that_fails_leaves_each_trial_its_gpu(
    tiny: Callable[..., SweepConfig], tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_: Any) -> list[Together]:
        raise UserError("measuring trials that share a GPU", "an error: out of memory", "run it again")

    monkeypatch.setattr(session_module, "measure_sharing", measure)
    folder = ResultsFolder(tmp_path / "tiny")
    with choice(tiny(), folder) as gpus_per_trial:
        assert gpus_per_trial(ONE_GPU) == 1.0
    (told,) = [row["text"] for row in read_jsonl(folder.events) if row["event"] == "gpu_share"]
    assert "out of memory" in told


def test_nothing_is_measured_where_the_sweep_file_says_it_or_there_is_no_gpu(
    tiny: Callable[..., SweepConfig], tmp_path: Path
) -> None:
    no_gpu = Cluster(cpus=4, gpus=0, nodes=1, dashboard=None)
    with choice(tiny(), ResultsFolder(tmp_path / "auto")) as gpus_per_trial:
        assert gpus_per_trial(no_gpu) == 0.0
        assert gpus_per_trial(Cluster(cpus=32, gpus=8, nodes=1, dashboard=None)) == 1.0  # one for each trial
    with choice(tiny(resources={"gpus_per_trial": 0.25}), ResultsFolder(tmp_path / "said")) as gpus_per_trial:
        assert gpus_per_trial(ONE_GPU) == 0.25
