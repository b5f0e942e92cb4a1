"""What reaches the sinks, which sinks there are, and what is known of a GPU."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch

from paramalloc.config import TelemetryConfig
from paramalloc.results import TrialFolder
from paramalloc.telemetry import Origin, Telemetry, open_telemetry
from paramalloc.telemetry.gpu import gpu_probe
from paramalloc.telemetry.tensorboard import TensorBoard

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
ORIGIN = Origin("smoke", "2026-01-01", {})


class Remembering:
    def __init__(self) -> None:
        self.calls: list[object] = []

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self.calls.append((step, dict(values)))

    def flush(self) -> None:
        self.calls.append("flush")

    def close(self) -> None:
        self.calls.append("close")


def test_every_sink_gets_what_is_known_grouped_by_where_it_comes_from() -> None:
    sinks = [Remembering(), Remembering()]
    telemetry = Telemetry(sinks, probe=lambda: {"gpu_memory_mb": 512.0})
    telemetry.log(40, {"train_loss": 2.5, "grad_norm": None, "dev_ppl": float("inf"), "dev_loss": 2.0, "tokens": 64})
    telemetry.flush()
    telemetry.close()
    known = {"train/train_loss": 2.5, "dev/dev_loss": 2.0, "train/tokens": 64, "gpu/gpu_memory_mb": 512.0}
    for sink in sinks:
        assert sink.calls == [(40, known), "flush", "close"]


def test_without_sinks_nothing_is_even_measured() -> None:
    def probe() -> Mapping[str, float]:
        raise AssertionError

    Telemetry(probe=probe).log(1, {"train_loss": 1.0})


def test_tensorboard_alone_by_default_and_nothing_when_switched_off(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path, "ranking", "a")
    default = open_telemetry(TelemetryConfig(), folder, ORIGIN, 0, CPU, environ={})
    assert [type(sink) for sink in default.sinks] == [TensorBoard]
    assert len(list(folder.tensorboard.iterdir())) == 1
    default.close()
    off = open_telemetry(
        TelemetryConfig(tensorboard=False), TrialFolder(tmp_path, "ranking", "b"), ORIGIN, 0, CPU, environ={}
    )
    assert off.sinks == ()
    assert not (tmp_path / "ranking" / "b").exists()


class FakeNvml(ModuleType):
    """NVML with one GPU whose UUID ends in 7; `broken` names a call that fails."""

    class NVMLError(Exception):
        pass

    def __init__(self, broken: str = "") -> None:
        super().__init__("pynvml")
        self.broken = broken

    def __getattr__(self, name: str) -> Callable[..., object]:
        if not name.startswith("nvml"):
            raise AttributeError(name)
        results = {
            "nvmlInit": None,
            "nvmlDeviceGetHandleByUUID": "handle",
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=83),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=1_500_000_000),
        }

        def call(*arguments: object) -> object:
            if name == self.broken or (name.endswith("UUID") and arguments != ("GPU-7",)):
                raise self.NVMLError
            return results[name]

        return call


def probe_with(nvml: ModuleType | None, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, float]:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="7"))
    return gpu_probe(GPU)()


def test_a_gpu_is_read_through_nvml_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe_with(FakeNvml(), monkeypatch) == {"gpu_utilisation_percent": 83.0, "gpu_memory_mb": 1500.0}


@pytest.mark.parametrize("broken", ["nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetUtilizationRates"])
def test_a_gpu_that_does_not_tell_is_left_out(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    assert probe_with(FakeNvml(broken), monkeypatch) == {}


def test_without_pynvml_or_without_a_gpu_nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probe_with(None, monkeypatch) == {}
    assert gpu_probe(CPU)() == {}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_real_gpu_tells() -> None:
    pytest.importorskip("pynvml")
    read = gpu_probe(GPU)()
    assert 0 <= read["gpu_utilisation_percent"] <= 100
    assert read["gpu_memory_mb"] > 0
