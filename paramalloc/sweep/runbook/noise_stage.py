"""Noise calibration: what several seeds of the baseline say about the differences that a sweep can see at all.

Always holds: a pure function of scores; noise that fewer than two finished runs leave unknown is None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from paramalloc.config import FinalistsConfig
from paramalloc.statistics.noise import SeedNoise, minimum_detectable_effect, seed_noise
from paramalloc.sweep.runbook.decisions import Row


def noise_row(variant: str, scores: Mapping[str, Sequence[float]], rules: FinalistsConfig) -> Row:
    """The `noise` row of decisions.jsonl.

    Args:
        variant: the baseline.
        scores: dev perplexities of its finished runs, by budget: `ranking` and `final`.
    Fields: variant, text, and by budget what is known of its noise: seeds, standard_deviation and df (of one run, in
    natural log of perplexity), and minimum_detectable_effect, the relative improvement that a comparison there finds
    in four cases of five: of two single runs in the ranking, of all finalists' seeds in the final.
    """
    runs = {"ranking": (1, 1), "final": (len(rules.seeds), rules.count)}
    found = {kind: _budget(scores.get(kind, ()), *runs[kind]) for kind in runs}
    said = [
        f"{known['standard_deviation']:.1%} at the {kind} budget, where a difference shows from "
        f"{known['minimum_detectable_effect']:.1%} on"
        for kind, known in found.items()
        if known is not None
    ]
    text = (
        f"seeds alone change the perplexity of {variant} by {'; by '.join(said)}"
        if said
        else (f"the noise of {variant} is not known: fewer than two of its runs finished")
    )
    return {"variant": variant, **found, "text": text}


def known_noise(row: Row | None, kind: str) -> SeedNoise | None:
    """What a `noise` row says of one budget."""
    known = row[kind] if row else None
    return SeedNoise(known["standard_deviation"], known["df"]) if known else None


def _budget(scores: Sequence[float], seeds: int, comparisons: int) -> dict[str, Any] | None:
    noise = seed_noise([math.log(score) for score in scores])
    if noise is None:
        return None
    return {
        "seeds": len(scores),
        "standard_deviation": noise.standard_deviation,
        "df": noise.df,
        "minimum_detectable_effect": minimum_detectable_effect(noise, seeds, comparisons),
    }
