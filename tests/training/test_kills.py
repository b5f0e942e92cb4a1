"""SIGKILL in the midst of background saves: a usable checkpoint remains, and the run ends as if nothing had been."""

from __future__ import annotations

import multiprocessing
import random
import runpy
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from paramalloc.training.checkpoint import CheckpointStore
from paramalloc.training.loop import Row, Trainer

SCRIPT = Path(__file__).with_name("victim.py")
VICTIM = SimpleNamespace(**runpy.run_path(str(SCRIPT)))
ROUNDS = 10


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    """Children of a server that has imported, once, what takes seconds; the first optimiser asks for `_dynamo`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "paramalloc.training.loop", "torch._dynamo"])
    return context


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    whole = VICTIM.trainer(tmp_path_factory.mktemp("whole"), VICTIM.NEVER_SAVING)
    whole.train()
    return whole


def train_until_killed(
    processes: ForkServerContext, folder: Path, *, steps: int | None = None, operation: int | None = None
) -> int:
    """The last step the child told of; it is killed after `steps` more, or kills itself at a file operation."""
    told, telling = processes.Pipe(duplex=False)
    arguments = {"FOLDER": folder, "PIPE": telling, "LAST_OPERATION": operation}
    child = processes.Process(target=runpy.run_path, args=(str(SCRIPT), arguments, "victim"))
    child.start()
    telling.close()
    last = told.recv()
    try:
        end = None if steps is None else last + steps
        while last != end:
            last = told.recv()
        child.kill()
    except EOFError:  # it has ended
        pass
    child.join()
    told.close()
    assert child.exitcode == -9
    return last


def without_times(history: list[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key != "training_seconds"} for row in history]


def assert_ends_like(undisturbed: Trainer, folder: Path) -> None:
    survivor = VICTIM.trainer(folder)
    assert 0 < survivor.progress.step < VICTIM.RUN.total_steps
    survivor.train()
    assert without_times(survivor.progress.history) == without_times(undisturbed.progress.history)
    weights = zip(survivor.model.state_dict().values(), undisturbed.model.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)
    moments = zip(survivor.optimizer.state.values(), undisturbed.optimizer.state.values(), strict=True)
    assert all(torch.equal(a[name], b[name]) for a, b in moments for name in a)
    best, expected = survivor.checkpoints.best(), undisturbed.checkpoints.best()
    assert (best.step, best.training) == (expected.step, expected.training)
    assert not list(folder.glob(".writing*"))


def assert_usable(folder: Path, last: int) -> None:
    """The newest checkpoint is whole, and at most one write was in flight when the process died."""
    problems: list[str] = []
    newest = CheckpointStore(folder, notify=problems.append).newest()
    assert problems == []
    assert last - 2 <= (newest.step if newest else 0) <= last + 1


def test_killed_at_random_steps(processes: ForkServerContext, undisturbed: Trainer, tmp_path: Path) -> None:
    draw = random.Random(4)
    for _ in range(ROUNDS):
        last = train_until_killed(processes, tmp_path, steps=draw.randint(1, 6))
        assert_usable(tmp_path, last)
    assert_ends_like(undisturbed, tmp_path)


def test_killed_at_random_file_operations(processes: ForkServerContext, undisturbed: Trainer, tmp_path: Path) -> None:
    draw = random.Random(5)
    for _ in range(ROUNDS):
        last = train_until_killed(processes, tmp_path, operation=draw.randint(1, 60))
        assert_usable(tmp_path, last)
    assert_ends_like(undisturbed, tmp_path)
