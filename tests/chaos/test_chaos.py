"""Sweeps that lose machines, drivers, disks and files at random end with the numbers of one that lost nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.conftest import Chaos
from tests.chaos.plan import BESIDES, Plan, compressed, losses_of_node_trace

pytestmark = pytest.mark.long
FIRST = int(os.environ.get("CHAOS_FIRST", "25"))
RUNS = int(os.environ.get("CHAOS_RUNS", "1"))
KILLS = int(os.environ.get("CHAOS_KILLS", "0"))
TRACES = int(os.environ.get("CHAOS_TRACES", "0"))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + RUNS))
def test_chaos_leaves_no_trace_in_the_results(chaos: Chaos, seed: int) -> None:
    assert chaos.run(Plan.draw(seed)).problems == []


@pytest.mark.parametrize("kind", BESIDES if RUNS else ())
def test_a_rarer_fault_leaves_no_trace(chaos: Chaos, kind: str) -> None:
    figures = chaos.run(Plan.of_kind(kind))
    assert figures.problems == []
    assert figures.faults == [kind]


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_driver_killed_at_any_instant_leaves_no_trace(chaos: Chaos, seed: int) -> None:
    figures = chaos.run(Plan.driver_kill(seed, chaos.duration_seconds))
    assert figures.problems == []
    if not figures.faults:  # over before the blow: this machine has become quicker, which the next draw heeds
        chaos.duration_seconds = figures.seconds
        figures = chaos.run(Plan.driver_kill(seed, chaos.duration_seconds))
        assert figures.problems == []
        assert figures.faults


@pytest.mark.parametrize("number", range(TRACES))
def test_losses_of_a_recorded_trace_leave_no_trace(chaos: Chaos, shared_data: Path, number: int) -> None:
    losses = losses_of_node_trace((shared_data / "spot/bamboo/traces/p3-trace.csv").read_text())
    moments = compressed(losses, count=3, duration_seconds=chaos.duration_seconds, first=3 * number)
    assert chaos.run(Plan.of_trace(f"trace {number}", moments)).problems == []
