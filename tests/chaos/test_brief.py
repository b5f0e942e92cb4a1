"""The short seeded selection of chaos that `make test` runs; `make chaos N=50` for the rest.

Comes before test_chaos.py by its name, so that the machines of the two are not there at the same time.
"""

from __future__ import annotations

from tests.chaos.conftest import Chaos
from tests.chaos.plan import Plan

SEEDS = (235, 65)  # what they draw strikes one sweep, one after the other


def test_a_machine_a_driver_its_checkpoints_and_another_machine_are_lost_without_a_trace(brief_chaos: Chaos) -> None:
    faults = tuple(fault for seed in SEEDS for fault in Plan.draw(seed).faults)
    figures = brief_chaos.run(Plan(f"seeds {SEEDS[0]} and {SEEDS[1]}", faults))
    assert figures.problems == []
    assert figures.faults == ["node_killed", "checkpoint_truncated", "notice_by_agent"]
    assert [recovery.lost_tokens for recovery in figures.recoveries if recovery.noticed] == [0]
