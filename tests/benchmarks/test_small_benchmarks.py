"""Evaluation, data and start-up: the ratios they give, and quick runs that end with their figures."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import data, evaluation, startup


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_evaluation_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    tiny = ["--total-params", "150000", "--vocab-size", "500", "--context", "32"]
    assert evaluation.main(["--quick", "--json", "--threads", "1", *tiny]) == 0
    figures = last_line(capsys)
    assert figures["benchmark"] == "evaluation"
    assert figures["ratio_vs_best_peer"] > 0  # type: ignore[operator]


def test_ways_that_give_other_scores_are_not_compared() -> None:
    different = {"ours": lambda: np.array([1.0, 2.0]), "plain": lambda: np.array([1.0, 2.001])}
    with pytest.raises(RuntimeError, match="scores differ"):
        evaluation.speeds(different, amount=1, rounds=1)


def test_evaluation_compares_each_kind_of_scoring_with_its_own_peer() -> None:
    figures = evaluation.figures_of({"ours": 30.0, "plain": 10.0}, {"ours": 8.0, "plain": 2.0})
    assert (figures["ratio_vs_best_peer"], figures["smallbench_ratio_vs_best_peer"]) == (3.0, 4.0)


def test_data_ends_with_its_figures(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_QUICK_BYTES", 30_000)
    assert data.main(["--quick", "--json", "--vocab-size", "400"]) == 0
    figures = last_line(capsys)
    assert set(figures["mb_per_second"]) == {"ours", "plain loop", "library's batches"}  # type: ignore[call-overload]


def test_data_is_compared_with_the_faster_use_of_the_library() -> None:
    assert data.figures_of({"ours": 12.0, "plain loop": 2.0, "library's batches": 4.0})["ratio_vs_best_peer"] == 3.0


def test_start_up_is_better_when_it_is_shorter() -> None:
    assert startup.figures_of({"ours": 2.0, "plain": 3.0, "llama": 6.0}, {})["ratio_vs_best_peer"] == 1.5


def test_a_start_is_timed_part_by_part_in_a_process_of_its_own() -> None:
    parts = startup._parts("ours")
    assert tuple(parts) == startup.PARTS
    assert all(seconds >= 0 for seconds in parts.values())
