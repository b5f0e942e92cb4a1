"""What a sweep shows while it runs on Ray's metrics port, for Prometheus and Grafana (`cluster/grafana.json`).

Always holds: a figure that nobody knows yet is absent, never zero; every gauge has the sweep's name as its label
`sweep`, and Ray puts `ray_` before its name; figures of money are those of COST_SUMMARY.json.
Use: `Gauges("embed").show(readings(summary, live_nodes, trials, preemptions))` every few seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ray.util.metrics import Gauge

from paramalloc.results import DIVERGED, FAILED, FINISHED, KILLED
from paramalloc.sweep.trials.state import RUNNING, WAITING, TrialState

GAUGES = {
    "paramalloc_spent_usd": "dollars spent so far",
    "paramalloc_budget_usd": "dollars that may be spent",
    "paramalloc_projected_usd": "dollars that will have been spent in the end, by what tokens have cost so far",
    "paramalloc_burn_usd_per_hour": "what the machines that are there cost in an hour at their last known prices",
    "paramalloc_preemptions": "how often trials have left a machine with notice, or lost their worker",
    "paramalloc_tokens_per_second": "training speed of the running trials together",
    "paramalloc_trials": "trials of the stages so far, by state",
}
STATES = (WAITING, RUNNING, FINISHED, KILLED, DIVERGED, FAILED)


@dataclass(frozen=True)
class Reading:
    """The present value of one gauge; `state` only for `paramalloc_trials`."""

    name: str
    value: float
    state: str | None = None


def readings(
    summary: Mapping[str, Any] | None, nodes: Collection[str], trials: Collection[TrialState], preemptions: int
) -> list[Reading]:
    """All that can be said now.

    Args:
        summary: the newest bill, None before the first.
        nodes: ids of the machines that are there.
        trials: of all stages that have begun.
        preemptions: so far.
    """
    states = Counter(trial.status for trial in trials)
    speed = sum(trial.tokens_per_second or 0.0 for trial in trials if trial.status == RUNNING)
    known: dict[str, float | None] = {
        "paramalloc_preemptions": preemptions,
        "paramalloc_tokens_per_second": speed,
        **(_money(summary, nodes) if summary else {}),
    }
    by_state = [Reading("paramalloc_trials", states[state], state) for state in STATES]
    return [Reading(name, value) for name, value in known.items() if value is not None] + by_state


def _money(summary: Mapping[str, Any], nodes: Collection[str]) -> dict[str, float | None]:
    projection = summary["projection"]
    return {
        "paramalloc_spent_usd": summary["total_usd"],
        "paramalloc_budget_usd": summary["budget_usd"],
        "paramalloc_projected_usd": projection and projection["total_usd"],
        "paramalloc_burn_usd_per_hour": burn_usd_per_hour(summary, nodes),
    }


def burn_usd_per_hour(summary: Mapping[str, Any], nodes: Collection[str]) -> float | None:
    """What these nodes together cost in an hour, None where one is not in the bill yet or has no known price."""
    prices = [line["usd_per_hour"]["last"] for line in summary["by_node"] if line["node"] in nodes]
    return None if len(prices) < len(nodes) or None in prices else sum(prices)


class Gauges:
    """The gauges of one sweep in this process; Ray, which has to be up, exports them every ten seconds."""

    def __init__(self, sweep: str) -> None:
        self.sweep = sweep
        labels = {name: ("sweep", "state") if name == "paramalloc_trials" else ("sweep",) for name in GAUGES}
        self._gauges = {name: Gauge(name, text, tag_keys=labels[name]) for name, text in GAUGES.items()}

    def show(self, found: Iterable[Reading]) -> None:
        for reading in found:
            labels = {"sweep": self.sweep} | ({"state": reading.state} if reading.state else {})
            self._gauges[reading.name].set(reading.value, labels)
