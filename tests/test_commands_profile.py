"""`profile` from the command line: which variants are measured, and how figures and gaps are shown."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from paramalloc.commands import profile
from paramalloc.config import EvaluationConfig
from paramalloc.errors import UserError
from paramalloc.evaluation import profile as package
from paramalloc.numerics import Numerics
from paramalloc.training.run import TrainingRun

SWEEP = """\
model: {total_params: 100_000, vocab_size: 600, context_length: 32}
experiments: [{name: base}, {name: wide, glu_expansion: 4.0}]
"""
PROFILE: dict[str, Any] = {
    "latency_ms": {"128": {"p50": 1.5, "p95": 2.5, "p99": 3.5}, "512": None},
    "decode_tokens_per_second": 1234.4,
    "decode_prompt_tokens": 16,
    "training_tokens_per_second": 56789.0,
    "forward_flops_per_token": 2_000_000,
    "train_flops_per_token": 6_000_000,
    "mfu": 0.123,
    "peak_memory_mb": None,
    "alone": True,
    "other_load_cores": 0.04,
}


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs the command on SWEEP with `figures` in place of measured ones; returns what it prints."""
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP)

    def run(*arguments: str, figures: dict[str, Any] | None = None) -> str:
        def measured(
            runs: Mapping[str, TrainingRun], evaluation: EvaluationConfig, numerics: Numerics
        ) -> dict[str, dict[str, Any]]:
            return {name: PROFILE | (figures or {}) | {"d_ff": run.shape.d_ff} for name, run in runs.items()}

        monkeypatch.setattr(package, "profile_variants", measured)
        parser = argparse.ArgumentParser()
        profile.add_arguments(parser)
        console = Console(file=io.StringIO(), width=80)
        profile.run(parser.parse_args([str(path), *arguments]), console)
        return console.file.getvalue()

    return run


def test_json_has_each_variant_with_its_own_shape(said: Any) -> None:
    found = json.loads(said("--json"))
    assert list(found) == ["base", "wide"]
    assert found["base"]["d_ff"] < found["wide"]["d_ff"]
    assert found["base"] | {"d_ff": 0} == PROFILE | {"d_ff": 0}


def test_the_table_shows_every_figure_and_a_dash_for_none(said: Any) -> None:
    lines = said().splitlines()
    row = next(line for line in lines if line.startswith("wide"))
    assert row.split("  ")[0] == "wide"
    assert "1.5 / 2.5 / 3.5" in row
    assert row.split()[-6:] == ["1,234", "56,789", "2.00", "6.00", "12.3%", "-"]
    assert "ms at 512" not in said()  # no context is that long
    short = {"64": {"p50": 0.5, "p95": 0.6, "p99": 0.7}, "128": None, "512": None}
    assert "ms at 64" in said(figures={"latency_ms": short})
    assert "measured alone: other processes kept 0.04 cores busy" in lines[-1]


def test_only_the_variants_asked_for_are_measured(said: Any) -> None:
    assert list(json.loads(said("--json", "--variant", "wide"))) == ["wide"]
    with pytest.raises(UserError, match="--variant: got 'wyde'; allowed: base, wide"):
        said("--variant", "wyde")


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"alone": False, "other_load_cores": 1.5}, "not alone: other processes kept 1.50 cores busy"),
        ({"alone": None, "other_load_cores": None}, "cannot be told here"),
    ],
)
def test_what_was_not_measured_alone_is_marked(said: Any, figures: dict[str, Any], words: str) -> None:
    assert words in said(figures=figures)
