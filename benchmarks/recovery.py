"""What a preemption costs a trial: seconds until it trains again, and tokens that it has to train once more.

    python -m benchmarks.recovery --rounds 5

Always holds: real Ray nodes of one CPU each, a spare among them, and the driver that a user starts; a machine that is
struck is gone for good and another one joins. With notice, the flag of the node agent is raised and the machine ends
once its trial has left; by kill, SIGKILL takes all of its processes at once. Tokens are counted at evaluations, so
what a kill costs is known to one evaluation interval.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from rich.console import Console

from benchmarks.common import argument_parser, pin_threads, print_figures, print_table
from benchmarks.local_cluster import Driver, LocalCluster
from paramalloc.files import read_jsonl
from paramalloc.results import RANKING, ResultsFolder

NOTICE, KILL = "with notice", "by kill"
ROUNDS, QUICK_ROUNDS = 5, 1
CHECKPOINT_SECONDS = 5.0
EVALUATIONS_BETWEEN = 3  # a trial gets so far again before it is struck once more
ENDLESS: dict[str, Any] = {
    "name": "recovery",
    "data": {"corpus": "synthetic", "synthetic_bytes": 200_000},
    "model": {"total_params": 100_000, "vocab_size": 600, "context_length": 32},
    "experiments": [{"name": "base"}, {"name": "wide", "glu_expansion": 4.0}],
    "training": {"tokens": 200_000_000, "batch_size": 4, "checkpoint_seconds": CHECKPOINT_SECONDS},
    "ranking": {"tokens": 200_000_000, "eval_interval_tokens": 10_000, "stop": "none"},
    "finalists": {"eval_interval_tokens": 10_000, "seeds": [0]},  # one run of the baseline is trained ahead
    "evaluation": {"latency_runs": 0},
    "sanity": {"enabled": False},
    "telemetry": {"tensorboard": False},
}


@dataclass(frozen=True)
class Recovery:
    """One trial that was struck, in one way, at a time (Unix seconds), with so many tokens trained by then."""

    how: str
    trial: str
    struck: float
    tokens: int
    again: float
    resumed_tokens: int

    @property
    def seconds(self) -> float:
        """From the blow to training again on another machine."""
        return self.again - self.struck

    @property
    def lost_tokens(self) -> int:
        return max(0, self.tokens - self.resumed_tokens)


def main(arguments: list[str] | None = None) -> int:
    parser = argument_parser(__doc__)
    parser.add_argument(
        "--rounds", type=int, help=f"preemptions of each kind; default {ROUNDS}, {QUICK_ROUNDS} quick"
    )
    options = parser.parse_args(arguments)
    pin_threads(1)  # a node has one CPU
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    with tempfile.TemporaryDirectory(prefix="pm") as scratch, LocalCluster() as cluster:
        found = strike_in_turns(cluster, Path(scratch), rounds)
    figures = {how: summary([one for one in found if one.how == how]) for how in (NOTICE, KILL)}
    rows = [[how, *item.values()] for how, item in figures.items()]
    columns = ("preemption", "rounds", "seconds to training again", "longest", "tokens lost", "most")
    note = f"medians; a checkpoint every {CHECKPOINT_SECONDS:g} s; the machine to go on with is there already"
    print_table(Console(), "Recovery from a preemption", columns, rows, note)
    print_figures("recovery", {"checkpoint_seconds": CHECKPOINT_SECONDS, "recovery": figures}, options)
    return 0


def summary(found: Sequence[Recovery]) -> dict[str, float | int]:
    """Medians and extremes over the rounds of one kind."""
    seconds, lost = [one.seconds for one in found], [one.lost_tokens for one in found]
    return {
        "rounds": len(found),
        "median_seconds": median(seconds),
        "longest_seconds": max(seconds),
        "median_lost_tokens": round(median(lost)),
        "most_lost_tokens": max(lost),
    }


def strike_in_turns(cluster: LocalCluster, scratch: Path, rounds: int) -> list[Recovery]:
    """Preempt the baseline `rounds` times in each way while a sweep runs, and end that sweep."""
    sweep = scratch / "recovery.yaml"
    sweep.write_text(yaml.safe_dump(ENDLESS))
    nodes = {node.node_id: node for node in (cluster.add() for _ in range(4))}  # one to spare
    driver = Driver(sweep, ResultsFolder(scratch / "results"), cluster.address)
    found = []
    try:
        for how in [NOTICE, KILL] * rounds:
            found.append(_strike(cluster, driver, nodes, how))
            node = cluster.add()
            nodes[node.node_id] = node
    finally:
        driver.signal(signal.SIGINT)
        driver.end()
    return found


def _strike(cluster: LocalCluster, driver: Driver, nodes: dict[str, Any], how: str) -> Recovery:
    """Let the baseline train for a while, take its machine, and wait until it trains on another one."""
    trial, before = "base", _tokens(driver, "base")
    driver.wait_for(lambda: _evaluations_after(driver, trial, before) >= EVALUATIONS_BETWEEN)
    node = nodes.pop(_told(driver, trial, "trial_start")[-1]["node"])
    tokens, struck = _tokens(driver, trial), time.time()

    def told_since(event: str) -> list[dict[str, Any]]:
        return [row for row in _told(driver, trial, event) if row["time"] > struck]

    if how == NOTICE:
        cluster.notice(node)
        tokens = driver.wait_for(lambda: told_since("trial_preempted"))[-1]["tokens"]
    cluster.kill(node)
    again = driver.wait_for(lambda: told_since("trial_start"))[-1]
    resumed = driver.wait_for(lambda: told_since("trial_resumed"))[-1]
    return Recovery(how, trial, struck, tokens, again["time"], resumed["tokens"])


def _told(driver: Driver, trial: str, event: str) -> list[dict[str, Any]]:
    return [row for row in driver.events(event) if row["trial"] == trial]


def _tokens(driver: Driver, trial: str) -> int:
    rows = read_jsonl(driver.folder.trial(RANKING, trial).history)
    return int(rows[-1]["tokens"]) if rows else 0


def _evaluations_after(driver: Driver, trial: str, tokens: int) -> int:
    return sum(row["tokens"] > tokens for row in read_jsonl(driver.folder.trial(RANKING, trial).history))


if __name__ == "__main__":
    sys.exit(main())
