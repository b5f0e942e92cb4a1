"""The growth benchmark: its sweep comes to an end however machines come and go, and its arithmetic by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.growth import exponent
from benchmarks.played_sweep import Scene, play
from benchmarks.spot_traces import AVAILABILITY, PRICES, load_trace


def test_an_exponent_is_the_slope_between_logarithms() -> None:
    sizes = (10, 20, 40)
    for power in (0, 1, 2):
        assert exponent([{"trials": n, "s": 3.0 * n**power} for n in sizes], "s") == pytest.approx(power)
    assert exponent([{"trials": 10, "s": 1.0}, {"trials": 20, "s": None}], "s") is None


def test_a_recorded_trace_is_replayed_in_as_many_places_as_are_wanted(tmp_path: Path) -> None:
    """Two machines, the second in the place of the first; twice as fast; the other place begins half way."""
    (tmp_path / PRICES).mkdir(parents=True)
    (tmp_path / PRICES / "us-east-1a_Linux.csv").write_text(
        "timestamp,spot_price_usd\n2015-01-01 00:00:00+00:00,0.5\n2015-01-01 00:01:00+00:00,0.6\n"
    )
    (tmp_path / AVAILABILITY).parent.mkdir(parents=True)
    (tmp_path / AVAILABILITY).write_text("0,add,a\n40000,remove,a\n60000,add,b\n100000,remove,b\n")
    trace = load_trace(tmp_path)
    assert trace.place(0, places=2, length=50.0, speed=2.0) == [(0.0, 20.0), (30.0, 50.0)]
    assert trace.place(1, places=2, length=50.0, speed=2.0) == [(5.0, 25.0), (25.0, 45.0)]
    assert trace.price_changes("us-east-1a", 59.0) == [(0.0, 0.5)]


@pytest.mark.parametrize("scene", [Scene(20, machines=1, slots=2, trial_seconds=1.0), Scene(20, machines=3)])
def test_a_played_sweep_ends_with_every_trial_decided(tmp_path: Path, scene: Scene) -> None:
    found = play(scene, tmp_path / "no data", tmp_path / "results", tmp_path / "cache")
    assert sum(found["by_status"].values()) == 20
    assert set(found["by_status"]) == {"finished", "killed"}
    assert (found["preemptions"] > 0) == (found["lost_machines"] > 0) == (scene.machines > 1)
    assert found["events_mb"] < found["files_mb"]
