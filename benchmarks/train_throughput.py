"""Training tokens per second of this project's step loop, against other loops on the same batches.

Always holds: every loop runs in a process of its own, alone while it runs; they take turns in short rounds, and the
median round counts; `ratio_vs_best_peer` is against the fastest peer of the same run, eager or compiled.

    python -m benchmarks.train_throughput                              # B = 8, T = 256, fp32, every peer at hand
    python -m benchmarks.train_throughput --malloc-for-peers --only ours plain llama
    python -m benchmarks.train_throughput --curves                     # do the losses follow the plain loop's?
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any

from rich.console import Console

from benchmarks import common
from paramalloc.allocation import Shape, flops_per_token, solve
from paramalloc.config import ModelConfig

OURS = ("ours", "ours compiled")
QUICK = ("ours", "plain")
_CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
_CURVE_STEPS = 200
_CURVE_TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = common.argument_parser(__doc__)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--total-params", type=int, default=10_000_000)
    parser.add_argument("--vocab-size", type=int, default=16_000)
    parser.add_argument("--context", type=int, default=256, help="tokens of a sequence (default: 256)")
    parser.add_argument("--batch", type=int, default=8, help="sequences of a step (default: 8)")
    parser.add_argument("--rounds", type=int, help="default: 7, with --quick 2")
    parser.add_argument("--steps", type=int, help="of a round; default: 2, with --quick 1")
    parser.add_argument(
        "--only", nargs="+", metavar="LOOP", help="take these loops, e.g. ours plain 'llama compiled'"
    )
    parser.add_argument("--malloc-for-peers", action="store_true", help="peers keep freed memory, too, as ours does")
    parser.add_argument(
        "--clock",
        choices=tuple(_CLOCKS),
        default="wall",
        help="cpu: processor time, for a busy machine and 1 thread",
    )
    parser.add_argument("--curves", action="store_true", help="compare 200 losses with the plain loop's instead")
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class Result:
    """What one loop did: median tokens/s, how much its rounds differ, and its peak memory over the imports'."""

    loop: str
    parameters: int
    tokens_per_second: float
    spread: float
    peak_share: float
    peak_mb: float | None
    loss: float


class LoopProcess:
    """A loop of `benchmarks.contenders` in its own process, told by a line to take a round."""

    def __init__(self, setting: Mapping[str, Any], clock: str) -> None:
        self.setting, self.clock, self.losses = setting, clock, list[float]()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contenders"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._tell(json.dumps(setting))
        self.parameters: int = self._hear()["parameters"]

    def round(self) -> float:
        """Seconds that a round took, by this process' clock."""
        self._tell("go")
        answer = self._hear()
        self.losses.append(answer["loss"])
        return answer["seconds"][self.clock]

    def end(self) -> float | None:
        """Peak memory in MB; the process is gone afterwards."""
        assert self._process.stdin
        self._process.stdin.close()
        peak = self._hear()["peak_mb"]
        self._process.wait()
        return peak

    def __enter__(self) -> LoopProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the loop '{self.setting['name']}' ended early: run benchmarks.contenders by hand")
        return json.loads(line)


def setting_of(loop: str, shape: Shape, options: argparse.Namespace, steps: int) -> dict[str, Any]:
    """What a process of `benchmarks.contenders` is told, as JSON."""
    return {
        "name": loop,
        "shape": asdict(shape),
        "batch_size": options.batch,
        "precision": options.precision,
        "threads": options.threads,
        "steps": steps,
        "keeps_memory": loop in OURS or options.malloc_for_peers,
    }


def measure(loops: Sequence[str], shape: Shape, options: argparse.Namespace) -> tuple[list[Result], float]:
    """Every loop's result, in their order, and the FLOP/s of the machine's matrix products."""
    steps = options.steps or (1 if options.quick else 2)
    rounds = options.rounds or (2 if options.quick else 7)
    tokens = steps * options.batch * shape.context_length
    with ExitStack() as stack:
        processes = {
            loop: stack.enter_context(LoopProcess(setting_of(loop, shape, options, steps), options.clock))
            for loop in loops
        }
        samples = common.in_turns({loop: process.round for loop, process in processes.items()}, rounds)
        gemm = common.gemm_peak_flops(options.precision, options.quick, _CLOCKS[options.clock])
        results = []
        for loop, process in processes.items():
            speed = tokens / common.medians(samples)[loop]
            share = speed * flops_per_token(shape) / gemm
            spread = common.spread(samples[loop])
            results.append(Result(loop, process.parameters, speed, spread, share, process.end(), process.losses[-1]))
    return results, gemm


def figures_of(results: Sequence[Result], gemm: float) -> dict[str, Any]:
    """Tokens/s by loop, and ours over the fastest peer's, eager and (where measured) compiled."""
    speeds = {result.loop: result.tokens_per_second for result in results}
    peers = [speed for loop, speed in speeds.items() if loop not in OURS]
    compiled = speeds.get("ours compiled")
    return {
        "tokens_per_second": speeds,
        "peak_mb": {result.loop: result.peak_mb for result in results},
        "share_of_gemm_peak": {result.loop: result.peak_share for result in results},
        "gemm_peak_gflops": gemm / 1e9,
        "ratio_vs_best_peer": common.ratio_vs_best_peer(speeds["ours"], peers),
        "ratio_vs_best_peer_compiled": common.ratio_vs_best_peer(compiled, peers) if compiled else None,
    }


def show(console: Console, results: Sequence[Result], options: argparse.Namespace) -> None:
    ours = next(result.tokens_per_second for result in results if result.loop == "ours")
    malloc = "every loop keeps" if options.malloc_for_peers else "only ours keeps"
    common.print_table(
        console,
        f"Training, {options.precision}, B = {options.batch}, T = {options.context}, {options.threads} thread(s), "
        f"{options.clock} clock",
        ("loop", "parameters", "tokens/s", "spread", "ours is", "share of GEMM peak", "peak MB"),
        [
            (
                result.loop,
                result.parameters,
                result.tokens_per_second,
                f"±{result.spread:.0%}",
                f"{ours / result.tokens_per_second:.2f} x",
                f"{result.peak_share:.0%}",
                result.peak_mb,
            )
            for result in results
        ],
        note=f"medians of rounds in turns; {malloc} freed memory; peak beyond what imports take",
    )


def compare_curves(shape: Shape, options: argparse.Namespace) -> dict[str, Any]:
    """The largest relative difference of our loss from the plain loop's over 200 steps at one learning rate."""
    from benchmarks.curves import loss_curves

    steps = options.steps or (20 if options.quick else _CURVE_STEPS)
    ours, plain = loss_curves(shape, options.batch, options.precision, steps)
    worst = max(abs(a - b) / b for a, b in zip(ours, plain, strict=True))
    allowed = _CURVE_TOLERANCE[options.precision]
    return {"steps": steps, "last_loss": ours[-1], "largest_difference": worst, "within": worst <= allowed}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    common.pin_threads(options.threads)
    model = ModelConfig(
        total_params=options.total_params, vocab_size=options.vocab_size, context_length=options.context
    )
    shape, console = solve(model), Console()
    if options.curves:
        curves = compare_curves(shape, options)
        common.print_table(console, "Losses against the plain loop's", tuple(curves), [tuple(curves.values())])
        common.print_figures("train_throughput", curves, options)
        return 0 if curves["within"] else 1
    from benchmarks.contenders import contenders

    loops = options.only or (QUICK if options.quick else contenders())
    results, gemm = measure(loops, shape, options)
    show(console, results, options)
    common.print_figures("train_throughput", figures_of(results, gemm), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
