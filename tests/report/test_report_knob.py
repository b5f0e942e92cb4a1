"""Which axis a sweep is drawn along, and where its variants stand on it."""

from __future__ import annotations

from typing import Any

import pytest

from paramalloc.report.figures.knob_axis import KnobAxis
from paramalloc.report.knob import swept_knob
from paramalloc.sweep_file import check_sweep


def knob_of(*experiments: dict[str, Any]) -> tuple[str, Any]:
    config = check_sweep({"name": "s", "experiments": [{"name": f"v{i}", **e} for i, e in enumerate(experiments)]})
    achieved = {"embedding_share": 0.347, "glu_expansion": 2.71}
    plan = {
        "variants": [
            {"name": variant.name, **{key: value + rank for key, value in achieved.items()}}
            for rank, variant in enumerate(config.variants)
        ]
    }
    knob = swept_knob(config.variants, plan)
    return knob.name, knob.values


def test_share_and_expansion_are_those_achieved() -> None:
    assert knob_of({}, {"embedding_ratio": 0.25}) == ("embedding_share", {"v0": 0.347, "v1": 1.347})
    assert knob_of({}, {"glu_expansion": 4}) == ("glu_expansion", {"v0": 2.71, "v1": 3.71})


def test_another_number_is_its_own_axis() -> None:
    assert knob_of({}, {"vocab_size": 8_000}) == ("vocab_size", {"v0": 16_000, "v1": 8_000})
    assert knob_of({}, {"learning_rate": 3e-4}) == ("learning_rate", {"v0": 1e-3, "v1": 3e-4})


def test_what_is_no_number_is_an_axis_of_names() -> None:
    assert knob_of({}, {"tied": False}) == ("tied", None)
    assert knob_of({}, {"n_heads": 4}) == ("n_heads", None)  # the other is `auto`
    assert knob_of({}, {"vocab_size": 8_000}, {"tied": False}) == ("variant", None)
    assert knob_of({}) == ("variant", None)


def test_how_a_run_is_carried_out_is_no_knob() -> None:
    experiment = {"embedding_ratio": 0.25, "micro_batch_size": 8, "checkpoint_seconds": 5}
    assert knob_of({}, experiment)[0] == "embedding_share"


def axis_of(**values: float) -> KnobAxis:
    experiments = [{"name": name, "learning_rate": value} for name, value in values.items()]
    config = check_sweep({"name": "s", "experiments": experiments})
    return KnobAxis(swept_knob(config.variants, {"variants": []}), list(values), "a")


@pytest.mark.parametrize(
    ("axis", "halfway"), [(axis_of(a=0.01, b=0.0001), 0.001), (axis_of(a=0.001, b=0.002), 0.0015)]
)
def test_wide_ranges_are_spaced_logarithmically(axis: KnobAxis, halfway: float) -> None:
    low = min(axis.place("a"), axis.place("b"))
    assert axis.move(low, 0.5) == pytest.approx(halfway)
    assert axis.distance(low, halfway) == pytest.approx(0.5)
