"""The short seeded selection of chaos that `make test` runs; `make chaos N=50` for the rest.

Comes before test_chaos.py by its name, so that the machines of the two are not there at the same time.
"""

from __future__ import annotations

import pytest

from tests.chaos.conftest import Chaos
from tests.chaos.plan import Plan

SEEDS = {
    235: ["node_killed", "checkpoint_truncated"],  # which a killed driver left behind
    357: ["checkpoint_flipped", "notice_by_agent"],
}


@pytest.mark.parametrize("seed", SEEDS)
def test_machines_drivers_and_checkpoints_are_lost_without_a_trace_in_the_results(
    brief_chaos: Chaos, seed: int
) -> None:
    figures = brief_chaos.run(Plan.draw(seed))
    assert figures.problems == []
    assert figures.faults == SEEDS[seed]
