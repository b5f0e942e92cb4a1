"""Latency, speed and memory: measured where they can be, None where they cannot, and blind to what came before."""

from __future__ import annotations

import itertools
import json
import sys
import weakref
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from paramalloc.allocation import Shape, flops_per_token
from paramalloc.config import EvaluationConfig, TrainingConfig
from paramalloc.evaluation import profile as package
from paramalloc.evaluation.profile import PeakMemory, latency_ms, memory, profile_variants
from paramalloc.evaluation.profile.alone import OtherLoad, gpu_alone
from paramalloc.evaluation.profile.latency import decode_tokens_per_second
from paramalloc.evaluation.profile.peaks import device_peak_flops, peak_flops
from paramalloc.evaluation.profile.throughput import training_tokens_per_second
from paramalloc.model import Transformer
from paramalloc.numerics import Numerics
from paramalloc.training.loop import Trainer
from paramalloc.training.run import TrainingRun

CPU = Numerics(torch.device("cpu"), "fp32")
GPU = Numerics(torch.device("cuda"), "bf16")
SHAPE = Shape(d_model=16, n_layers=1, n_heads=2, d_ff=24, vocab_size=300, context_length=128, tied=True)
DEEP = Shape(d_model=86, n_layers=7, n_heads=2, d_ff=228, vocab_size=4096, context_length=128, tied=True)
SHORT = Shape(d_model=16, n_layers=1, n_heads=2, d_ff=24, vocab_size=300, context_length=32, tied=True)
MB = 1_000_000


def run_of(shape: Shape, **training: Any) -> TrainingRun:
    config = TrainingConfig(**{"batch_size": 4, **training})
    return TrainingRun(shape, config, 100_000, 10_000, seed=0, learning_rate=1e-3)


def clock_of(durations: Iterable[float]) -> Callable[[], float]:
    """A clock that is read before and after each piece of work, and a second passes in between."""
    ticks = itertools.accumulate(itertools.chain.from_iterable((1.0, duration) for duration in durations))
    return lambda: next(ticks)


def test_latency_is_that_of_each_pass_after_the_warm_up() -> None:
    durations = [0.002] * 5 + [0.001 * run for run in range(1, 11)]
    measured = latency_ms({"a": Transformer(SHAPE)}, CPU, 10, clock_of(durations))["a"]
    assert measured["128"] == pytest.approx({"p50": 5.5, "p95": 9.55, "p99": 9.91})
    assert measured["512"] is None  # beyond the context


def test_no_runs_give_no_figure() -> None:
    assert latency_ms({"a": Transformer(SHAPE)}, CPU, 0) == {"a": {"128": None, "512": None}}


def test_contexts_that_are_all_shorter_than_128_are_measured_at_the_shortest() -> None:
    measured = latency_ms({"a": Transformer(SHORT), "b": Transformer(replace(SHORT, context_length=48))}, CPU, 2)
    assert all(list(lengths) == ["32", "128", "512"] for lengths in measured.values())
    assert all(lengths["32"]["p50"] > 0 and lengths["128"] is None for lengths in measured.values())
    assert "32" not in latency_ms({"a": Transformer(SHORT), "long": Transformer(SHAPE)}, CPU, 1)["a"]


def test_decoding_speed_is_the_median_of_the_rounds_after_the_first() -> None:
    models = {"a": Transformer(SHAPE), "b": Transformer(SHORT)}
    durations = [99, 99, 1, 10, 5, 50, 2, 20, 4, 40, 3, 30]  # a and b take turns
    measured = decode_tokens_per_second(models, CPU, clock_of(durations))
    assert measured["a"] == {"decode_tokens_per_second": pytest.approx(64 / 3), "decode_prompt_tokens": 64}
    assert measured["b"] == {"decode_tokens_per_second": pytest.approx(16 / 30), "decode_prompt_tokens": 16}


@pytest.mark.parametrize(("batch_size", "step_tokens"), [(4, 4 * 128), (256, 1024)])
@pytest.mark.parametrize("durations", [[7.0, 9.0], [0.5, 0.25, 0.5, 0.5, 0.5]])
def test_training_speed_is_that_of_whole_steps_of_a_batch_of_bounded_size(
    monkeypatch: pytest.MonkeyPatch, batch_size: int, step_tokens: int, durations: list[float]
) -> None:
    take_step, sizes = Trainer.take_step, []

    def counted(trainer: Trainer) -> None:
        sizes.append(trainer.batches.batch(0)[0].size)
        take_step(trainer)

    monkeypatch.setattr(Trainer, "take_step", counted)
    speed = training_tokens_per_second(run_of(SHAPE, batch_size=batch_size), CPU, clock_of(durations))
    assert speed == pytest.approx(step_tokens / median(durations))
    assert sizes == [step_tokens] * (1 + len(durations))  # one to warm up


def test_peak_memory_sees_what_was_held_and_not_what_came_before() -> None:
    earlier = torch.ones(100 * MB // 4)
    del earlier
    peak = PeakMemory(torch.device("cpu"))
    if peak.mb() is None:
        pytest.skip("this system does not tell the peak of a process's resident set")
    held = torch.ones(50 * MB // 4)
    del held
    assert peak.mb() == pytest.approx(50, abs=10)


@pytest.fixture(scope="module")
def profiles() -> dict[str, dict[str, Any]]:
    """A variant, the same with a large batch in micro-batches and in one piece, and one of many layers, twice."""
    runs = {
        "small": run_of(SHORT),
        "pieces": run_of(SHORT, batch_size=512, micro_batch_size=4),
        "hungry": run_of(SHORT, batch_size=512, micro_batch_size=512),
        "deep": run_of(DEEP, batch_size=8),
        "deep again": run_of(DEEP, batch_size=8),
    }
    return profile_variants(runs, EvaluationConfig(latency_runs=1), CPU)


def test_a_profile_is_strict_json_and_says_what_cannot_be_known(profiles: dict[str, dict[str, Any]]) -> None:
    small = profiles["small"]
    assert json.loads(json.dumps(small, allow_nan=False)) == small
    assert small["latency_ms"] == {"128": None, "512": None}  # the context is 32
    assert small["mfu"] is None  # nobody states a peak for a CPU
    assert small["train_flops_per_token"] == flops_per_token(SHORT) == 3 * small["forward_flops_per_token"]
    assert min(small["decode_tokens_per_second"], small["training_tokens_per_second"]) > 0


def test_step_memory_is_steady_and_follows_the_micro_batch(profiles: dict[str, dict[str, Any]]) -> None:
    peak = {name: profile["peak_memory_mb"] for name, profile in profiles.items()}
    if peak["small"] is None:
        pytest.skip("this system does not tell the peak of a process's resident set")
    assert peak["deep again"] == pytest.approx(peak["deep"], rel=0.02)
    assert peak["deep"] == pytest.approx(step_tensor_mb(DEEP, batch_size=8), rel=0.05)
    assert peak["pieces"] == pytest.approx(peak["small"], abs=2)
    hidden_mb, logits_mb = (512 * 32 * width * 4 / MB for width in (SHORT.d_model, SHORT.vocab_size))
    assert peak["small"] + 10 * hidden_mb < peak["hungry"] < 2 * logits_mb  # logits and their gradient never exist


class LiveTensors(TorchDispatchMode):
    """Counts the bytes of all tensors that are alive, by their storage."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.bytes:
                storage = tensor.untyped_storage()
                self.bytes[storage._cdata] = storage.nbytes()
                weakref.finalize(storage, self.bytes.pop, storage._cdata, None)
        self.peak = max(self.peak, sum(self.bytes.values()))
        return result


def step_tensor_mb(shape: Shape, batch_size: int) -> float:
    """The most bytes in tensors during two training steps, counted rather than measured."""
    with LiveTensors() as live:
        model = Transformer(shape)
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        for _ in range(2):
            tokens = torch.zeros((batch_size, shape.context_length), dtype=torch.long)
            model.nats(tokens, tokens).backward()
            optimizer.step()
            optimizer.zero_grad()
    return live.peak / MB


def test_a_killed_measurement_has_no_figure_and_a_failed_one_is_no_silent_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = "import os; print('[\"a\", 1.5]', flush=True); os.kill(os.getpid(), 9)"
    monkeypatch.setattr(memory, "_CHILD", report)
    assert memory.step_memory_mb({"a": run_of(SHORT), "b": run_of(SHORT)}, CPU) == {"a": 1.5, "b": None}
    monkeypatch.setattr(memory, "_CHILD", "raise SystemExit('no such thing')")
    with pytest.raises(RuntimeError, match="no such thing"):
        memory.step_memory_mb({"a": run_of(SHORT)}, CPU)


@pytest.mark.parametrize(
    ("device", "precision", "tflops"),
    [
        ("Tesla V100-SXM2-16GB", "fp16", 125),
        ("Tesla V100-PCIE-32GB", "fp16", 112),
        ("Tesla V100-SXM2-16GB", "bf16", None),
        ("NVIDIA A100-SXM4-80GB", "bf16", 312),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "bf16", None),
        ("NVIDIA L4", "fp32", 30.3),
        ("NVIDIA L40S", "bf16", 362),
        ("NVIDIA L40", "bf16", None),
        ("NVIDIA H100 PCIe", "bf16", 756),
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4),
        ("Radeon", "fp32", None),
    ],
)
def test_peaks_are_those_of_the_data_sheets(device: str, precision: str, tflops: float | None) -> None:
    assert peak_flops(device, precision) == (None if tflops is None else pytest.approx(tflops * 1e12))


def test_mfu_is_the_share_of_the_peak_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    assert device_peak_flops(CPU) is None
    assert device_peak_flops(GPU) == peak_flops("NVIDIA H200", "bf16")
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert device_peak_flops(Numerics(GPU.device, "fp32")) is None  # TF32 is no fp32

    monkeypatch.setattr(package, "device_peak_flops", lambda numerics: 1e12)
    monkeypatch.setattr(package, "step_memory_mb", lambda runs, numerics: dict.fromkeys(runs))
    profile = profile_variants({"a": run_of(SHORT)}, EvaluationConfig(latency_runs=0), CPU)["a"]
    used = profile["training_tokens_per_second"] * profile["train_flops_per_token"]
    assert profile["mfu"] == pytest.approx(used / 1e12)


@pytest.mark.parametrize(("others_busy_seconds", "alone"), [(0.5, True), (4.0, False)])
def test_a_measurement_is_alone_while_the_others_keep_less_than_a_tenth_of_the_cores_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others_busy_seconds: float, alone: bool
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("os.sysconf", lambda name: 100)
    own, now = iter([30.0, 37.0]), iter([0.0, 10.0])
    stat = tmp_path / "stat"

    def write(user: float, idle: float) -> None:  # user nice system idle iowait irq softirq steal
        stat.write_text(
            f"cpu  {user * 100:.0f} 0 1000 {idle * 100:.0f} {idle * 100:.0f} 0 0 0\ncpu0 1 1 1 1 1 1 1 1\n"
        )

    write(user=1000, idle=5000)
    load = OtherLoad(CPU.device, stat, lambda: next(own), lambda: next(now))
    write(user=1007 + others_busy_seconds, idle=5010)
    assert load.measure() == {"alone": alone, "other_load_cores": pytest.approx(others_busy_seconds / 10)}


def test_where_the_system_does_not_tell_nothing_is_claimed(tmp_path: Path) -> None:
    assert OtherLoad(CPU.device, tmp_path / "none").measure() == {"alone": None, "other_load_cores": None}


@pytest.mark.parametrize(("processes", "alone"), [(["this"], True), (["this", "other"], False), ([], None)])
def test_another_process_on_the_gpu_is_seen(
    monkeypatch: pytest.MonkeyPatch, processes: list[str], alone: bool | None
) -> None:
    nvml = SimpleNamespace(
        NVMLError=RuntimeError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID={"GPU-7": "handle"}.__getitem__,
        nvmlDeviceGetComputeRunningProcesses={"handle": processes}.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="7"))
    assert gpu_alone(GPU.device) is alone


def test_without_nvml_nothing_is_said_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_alone(GPU.device) is None
