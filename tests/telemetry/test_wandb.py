"""Weights & Biases, played by a fake module: used only with its key, carried on under one id, never in the way."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from paramalloc.config import TelemetryConfig
from paramalloc.results import TrialFolder
from paramalloc.telemetry import Origin, Telemetry, open_telemetry
from paramalloc.telemetry.wandb import run_id

KEY = "0123456789abcdef" * 3
CONFIG = TelemetryConfig(tensorboard=False, wandb_project="budget")
ORIGIN = Origin("smoke", "2026-01-01", {"seed": 3, "tokenizer_hash": "ab", "git_sha": "cd"})


class FakeRun:
    """A W&B run that, as the real one, starts at the step after the last one that its server knows."""

    def __init__(self, module: FakeWandb, step: int) -> None:
        self.module, self.step, self.finished = module, step, False
        self.logged: list[tuple[int, dict[str, float]]] = []

    def define_metric(self, name: str, step_metric: str) -> None:
        self.axis = (name, step_metric)

    def log(self, values: dict[str, float], step: int) -> None:
        if self.module.service_is_gone:
            raise ConnectionResetError("Connection lost")
        self.logged.append((step, values))
        self.step = step

    def finish(self) -> None:
        if self.module.service_is_gone:
            raise ConnectionResetError("Connection lost")
        self.finished = True


class FakeWandb(ModuleType):
    class Error(Exception):
        pass

    def __init__(self, known_steps: int = 0, start_fails_with: Exception | None = None) -> None:
        super().__init__("wandb")
        self.known_steps, self.start_fails_with = known_steps, start_fails_with
        self.started: list[dict[str, Any]] = []
        self.runs: list[FakeRun] = []
        self.service_is_gone = False

    def Settings(self, **settings: Any) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(**settings)

    def init(self, **arguments: Any) -> FakeRun:
        self.started.append(arguments)
        if self.start_fails_with:
            raise self.start_fails_with
        self.runs.append(FakeRun(self, self.known_steps))
        return self.runs[-1]


@pytest.fixture
def said() -> list[str]:
    return []


def opened(
    tmp_path: Path, wandb: ModuleType | None, said: list[str], monkeypatch: pytest.MonkeyPatch, key: str | None = KEY
) -> Telemetry:
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    environ = {"WANDB_API_KEY": key} if key is not None else {}
    folder = TrialFolder(tmp_path, "ranking", "emb35")
    return open_telemetry(CONFIG, folder, ORIGIN, 0, torch.device("cpu"), said.append, environ)


def test_curves_and_settings_are_sent(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = FakeWandb()
    telemetry = opened(tmp_path, wandb, said, monkeypatch)
    telemetry.log(20, {"train_loss": 3.0, "tokens": 640, "grad_norm": None})
    telemetry.close()
    (started,), (run,) = wandb.started, wandb.runs
    assert (started["project"], started["group"], started["name"]) == ("budget", "smoke", "ranking/emb35")
    assert started["config"] == ORIGIN.settings
    assert started["resume"] == "allow"
    assert run.axis == ("*", "train/tokens")
    assert run.logged == [(20, {"train/train_loss": 3.0, "train/tokens": 640})]
    assert run.finished
    assert said == []


@pytest.mark.parametrize("key", [None, ""])
def test_without_a_key_nothing_is_started(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    wandb = FakeWandb()
    telemetry = opened(tmp_path, wandb, said, monkeypatch, key)
    telemetry.log(20, {"train_loss": 3.0})
    assert (telemetry.sinks, wandb.started, said) == ((), [], [])


def test_a_run_that_is_carried_on_sends_no_step_twice(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = FakeWandb(known_steps=61)
    telemetry = opened(tmp_path, wandb, said, monkeypatch)
    for step in (40, 60, 80):
        telemetry.log(step, {"train_loss": 1.0})
    assert [step for step, _ in wandb.runs[0].logged] == [80]


def test_the_id_is_the_trials_own_for_as_long_as_its_sweep_lasts(tmp_path: Path) -> None:
    ids = [
        run_id(TrialFolder(tmp_path, stage, name), Origin(sweep, began, {}))
        for stage in ("ranking", "finalists")
        for name in ("a", "b")
        for sweep in ("s", "t")
        for began in ("monday", "tuesday")
    ]
    assert len(set(ids)) == len(ids)
    elsewhere = TrialFolder(Path("/elsewhere"), "ranking", "a")
    assert run_id(elsewhere, Origin("s", "monday", {"git_sha": "other"})) == ids[0]


@pytest.mark.parametrize(
    "error", [FakeWandb.Error("no such host\ndetails"), ValueError("bad setting"), OSError("disk full")]
)
def test_a_start_that_fails_is_said_once_and_forgotten(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    telemetry = opened(tmp_path, FakeWandb(start_fails_with=error), said, monkeypatch)
    telemetry.log(20, {"train_loss": 3.0})
    telemetry.close()
    assert len(said) == 1
    assert str(error).splitlines()[0] in said[0]
    assert "details" not in said[0]


def test_a_breakdown_on_the_way_is_said_once(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = FakeWandb()
    telemetry = opened(tmp_path, wandb, said, monkeypatch)
    telemetry.log(20, {"train_loss": 3.0})
    wandb.service_is_gone = True
    telemetry.log(40, {"train_loss": 2.0})
    telemetry.log(60, {"train_loss": 1.0})
    telemetry.close()
    assert len(said) == 1
    assert "Connection lost" in said[0]


def test_a_key_without_the_package_is_said(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(tmp_path, None, said, monkeypatch).sinks == ()
    assert len(said) == 1
    assert "not installed" in said[0]


def test_the_real_package_offline_keeps_the_key_to_itself(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    folder = TrialFolder(tmp_path, "ranking", "emb35")
    telemetry = open_telemetry(CONFIG, folder, ORIGIN, 0, torch.device("cpu"), said.append, os.environ)
    telemetry.log(20, {"train_loss": 3.0, "tokens": 640})
    telemetry.close()
    wandb.teardown()
    written = [path for path in folder.path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in written)
    assert not any(KEY.encode() in path.read_bytes() for path in written)
    assert said == []
