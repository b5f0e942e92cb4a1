"""What is made of the measurements; that a run ends with its figures; that losses are the plain loop's."""

from __future__ import annotations

import json

import pytest

from benchmarks import train_throughput
from benchmarks.curves import loss_curves
from benchmarks.train_throughput import Result, figures_of
from paramalloc.allocation import Shape


def result(loop: str, speed: float) -> Result:
    return Result(loop, 10, speed, 0.0, 0.5, None, 1.0)


def test_ratios_are_against_the_fastest_peer_and_never_against_ourselves() -> None:
    results = [result("ours", 300.0), result("ours compiled", 500.0), result("plain", 100.0), result("llama", 200.0)]
    figures = figures_of(results, gemm=1e9)
    assert figures["ratio_vs_best_peer"] == 1.5
    assert figures["ratio_vs_best_peer_compiled"] == 2.5
    assert figures["tokens_per_second"]["llama"] == 200.0
    assert figures_of(results[:1], gemm=1e9)["ratio_vs_best_peer"] is None


def test_a_quick_run_ends_with_its_figures(capfd: pytest.CaptureFixture[str]) -> None:
    tiny = ["--total-params", "150000", "--vocab-size", "500", "--context", "16", "--batch", "2"]
    assert train_throughput.main(["--quick", "--json", "--threads", "1", "--rounds", "1", *tiny]) == 0
    figures = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert figures["benchmark"] == "train_throughput"
    assert figures["ratio_vs_best_peer"] > 0
    assert set(figures["tokens_per_second"]) == {"ours", "plain"}


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 1e-2)])
def test_losses_are_those_of_the_plain_loop_at_step_200(precision: str, tolerance: float) -> None:
    shape = Shape(d_model=16, n_layers=2, n_heads=2, d_ff=40, vocab_size=300, context_length=80, tied=True)
    ours, plain = loss_curves(shape, batch_size=2, precision=precision, steps=200)
    assert plain[-1] < 0.95 * plain[0]  # it learns, so that the last losses tell something
    assert ours == pytest.approx(plain, rel=tolerance)
