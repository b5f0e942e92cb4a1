"""Plans are drawn from their seed alone, cover every kind of fault, and keep a trace's proportions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import faults
from tests.chaos.plan import KINDS, LAST_EVALUATION, Plan, compressed, losses_of_node_trace


def test_the_same_seed_draws_the_same_plan_and_another_one_another() -> None:
    assert Plan.draw(3) == Plan.draw(3)
    assert len({Plan.draw(seed).faults for seed in range(50)}) == 50


def test_every_kind_comes_up_in_as_many_seeds_and_can_be_carried_out() -> None:
    assert {fault.kind for seed in range(len(KINDS)) for fault in Plan.draw(seed).faults} == set(KINDS)
    assert all(callable(getattr(faults, kind)) for kind in KINDS)


def test_faults_strike_in_order_while_the_sweep_still_runs() -> None:
    for seed in range(200):
        points = [fault.after_evaluations for fault in Plan.draw(seed).faults]
        assert points == sorted(points)
        assert 0 <= points[0] <= points[-1] <= LAST_EVALUATION


def test_driver_kills_are_spread_over_the_whole_duration() -> None:
    moments = [Plan.driver_kill(seed, 40.0).faults[0].after_seconds or 0.0 for seed in range(100)]
    assert min(moments) < 4.0
    assert max(moments) > 36.0


def test_a_compressed_trace_keeps_the_proportions_of_its_gaps() -> None:
    assert compressed([100.0, 0.0, 50.0, 900.0], count=3, duration_seconds=12.0) == [3.0, 7.5, 12.0]
    assert compressed([5.0, 5.0], count=2, duration_seconds=9.0) == [3.0, 3.0]
    with pytest.raises(ValueError, match="a trace of 2 losses has none from 1 to 3"):
        compressed([0.0, 1.0], count=2, duration_seconds=9.0, first=1)


def test_losses_are_read_from_a_recorded_trace(shared_data: Path) -> None:
    losses = losses_of_node_trace((shared_data / "spot/bamboo/traces/p3-trace.csv").read_text())
    assert len(losses) > 100
    assert losses == sorted(losses)
