"""Noise calibration: what it can detect, checked by simulation, and whom it promotes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paramalloc.statistics.noise import SeedNoise, contenders, minimum_detectable_effect, seed_noise
from paramalloc.statistics.student import quantile


def test_noise_is_the_spread_over_seeds_and_needs_two() -> None:
    assert seed_noise([3.0, 3.2]) == SeedNoise(pytest.approx(0.2 / math.sqrt(2)), 1)
    assert seed_noise([3.0]) is None
    with pytest.raises(ValueError, match="finite"):
        seed_noise([3.0, math.inf])


@pytest.mark.parametrize("seeds", [1, 3])
def test_an_effect_of_the_size_that_is_detectable_is_found_four_times_in_five(seeds: int) -> None:
    sd, calibration_seeds, trials = 0.004, 5, 20_000
    noise = SeedNoise(sd, calibration_seeds - 1)
    effect = -math.log1p(-minimum_detectable_effect(noise, seeds))
    draw = np.random.default_rng(4)
    error = sd * math.sqrt(2 / seeds)
    seen = draw.normal(effect, error, trials)
    estimated = error * np.sqrt(draw.chisquare(noise.df, trials) / noise.df)
    found = np.abs(seen) > quantile(0.975, noise.df) * estimated
    assert np.mean(found) == pytest.approx(0.8, abs=0.01)


def test_more_comparisons_need_a_larger_effect_and_more_seeds_a_smaller_one() -> None:
    noise = SeedNoise(0.004, 4)
    plain = minimum_detectable_effect(noise)
    assert minimum_detectable_effect(noise, comparisons=3) > plain > minimum_detectable_effect(noise, seeds=3)


def test_contenders_are_all_within_two_standard_errors_of_the_best_up_to_the_limit() -> None:
    noise = SeedNoise(0.01 / math.sqrt(2), 4)  # of a difference: 0.01
    scores = {"far": 3.021, "best": 3.0, "edge": 3.0199, "near": 3.01}
    assert contenders(scores, noise, 4) == ["best", "near", "edge"]
    assert contenders(scores, noise, 2) == ["best", "near"]
    assert contenders({}, noise, 2) == []
