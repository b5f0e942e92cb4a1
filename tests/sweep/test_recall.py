"""What calls a trial back: the flag on its node, the driver's word; and what ends a worker that was replaced."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.notice import Notice, write_notice
from paramalloc.sweep.trials import recall as recall_module
from paramalloc.sweep.trials.recall import STOP_REASON, Recall, forget, request_stop

PATIENCE_SECONDS = 30


def wait_for(condition: Callable[[], object]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.fixture
def flag(tmp_path: Path) -> Path:
    return tmp_path / "notice.json"


def notice(flag: Path) -> None:
    write_notice(flag, Notice("terminate", time.time() + 120, time.time()))


def test_a_trial_hears_the_notice_on_its_node_and_its_withdrawal(flag: Path, local_ray: None) -> None:
    with Recall("s", "ranking/a", flag) as recall:
        assert recall.reason() is None
        notice(flag)
        assert recall.reason() == "spot notice (terminate)"
        assert recall.wait_while_called(0.0) == "spot notice (terminate)"
        flag.unlink()
        assert recall.wait_while_called(60.0) is None


def test_a_trial_hears_its_own_driver_and_no_other(
    flag: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recall_module, "POLL_SECONDS", 0.01)
    with Recall("one", "ranking/a", flag) as first, Recall("two", "ranking/a", flag) as second:
        request_stop("one")
        wait_for(lambda: first.reason() == STOP_REASON)
        assert second.reason() is None
        forget("one")
        wait_for(lambda: first.reason() is None)


SUPERSEDED = """
import sys, time
import ray
from paramalloc.sweep.trials.recall import Recall
ray.init(address=sys.argv[1], log_to_driver=False)
with Recall("s", "ranking/b"):
    print("began", flush=True)
    time.sleep(60)
"""


def test_a_worker_that_was_given_up_ends_itself_when_its_successor_begins(
    flag: Path, local_ray: None, tmp_path: Path
) -> None:
    import ray

    command = [sys.executable, "-c", SUPERSEDED, ray.get_runtime_context().gcs_address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as old:
        assert old.stdout is not None
        assert old.stdout.readline() == "began\n"
        with Recall("s", "ranking/b", flag):
            assert old.wait(PATIENCE_SECONDS) == 1
