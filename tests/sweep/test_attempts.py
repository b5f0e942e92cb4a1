"""How much of an attempt was lost, from what it had reported and where the next one carried on."""

from __future__ import annotations

import pytest

from paramalloc.sweep.trials.attempts import lost_seconds

POINTS = [(100.0, 1_000), (110.0, 2_000), (130.0, 3_000)]  # seconds, tokens


@pytest.mark.parametrize(
    ("kept_tokens", "lost"),
    [
        (0, 50.0),  # its checkpoint was damaged, the one before it serves
        (1_000, 50.0),  # nothing was saved
        (1_500, 45.0),
        (2_000, 40.0),
        (2_500, 30.0),
        (3_000, 20.0),
        (3_500, 10.0),  # half a second for each token more: the pace that is given
        (9_000, 0.0),
    ],
)
def test_what_came_after_the_state_that_was_kept_is_lost(kept_tokens: int, lost: float) -> None:
    assert lost_seconds(POINTS, ended=150.0, kept_tokens=kept_tokens, pace=50.0) == pytest.approx(lost)


def test_without_a_known_pace_all_after_the_last_report_is_lost() -> None:
    assert lost_seconds(POINTS[:1], ended=150.0, kept_tokens=5_000, pace=None) == 50.0
