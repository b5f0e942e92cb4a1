"""The report's main table: every variant's shape, how its ranking ended, its final scores, latency and speed.

Always holds: scores are on all of dev and test, each after its stage's own budget; a run that was killed or did not
finish has none; what is not known is a dash.
"""

from __future__ import annotations

import math

from paramalloc.formats import DASH, compact, millions, percent, perplexity_text, significant, span
from paramalloc.report.blocks import markdown_table
from paramalloc.report.load import UNFINISHED, SweepResults
from paramalloc.report.sections.findings import trials_at_once
from paramalloc.report.variants import Measure, VariantResult, measure
from paramalloc.results import DIVERGED, FINISHED, JUDGED_BY

_LATENCY = -2  # its column
_MANY = 12  # variants, from which on the best are looked for
_BESIDE = "\N{DAGGER}"


def variants_table(results: SweepResults, variants: list[VariantResult]) -> str:
    unit = measure(results.config)
    lengths = {variant.latency_ms[0] for variant in variants if variant.latency_ms}
    at = f" at {' or '.join(sorted(lengths, key=int))} tokens" if lengths else ""
    per = " per baseline token" if unit.dev != "dev_ppl" else ""
    stages = {variant.name: stage for stage, members in results.stages.items() for variant in members}
    heads = [
        "variant", "d_model / L / H / d_ff", "params", "share", "expansion", "ranking", f"ranking dev PPL{per}",
        f"final dev PPL{per}", "final dev bpb", f"final test PPL{per}", f"latency p50{at}, ms",
        "tokens/s in the sweep",
    ]  # fmt: skip
    winner = results.decided("winner")
    variants = _best_first(variants, unit) if len(variants) > _MANY else variants
    rows = [_row(variant, unit, bool(winner and winner["winner"] == variant.name)) for variant in variants]
    if trials_at_once(results) > 1:
        for variant, row in zip(variants, rows, strict=True):
            row[_LATENCY] += _BESIDE if row[_LATENCY] != DASH and not variant.finished_finals else ""
    if results.is_runbook:
        heads.insert(1, "stage")
        for variant, row in zip(variants, rows, strict=True):
            row.insert(1, stages.get(variant.name, DASH))
    note = (
        "Ranking and final scores are on all of dev (test), each after its own budget. A run that was killed or "
        "did not finish has none, unless it had ended before its verdict came; its curve, on a slice of dev, is in "
        "the figures. "
        f"Final scores are mean ± sd over {_seed_counts(variants)}; latency (batch 1) and speed are medians."
    )
    if any(row[_LATENCY].endswith(_BESIDE) for row in rows):
        note += f" {_BESIDE} Measured in the ranking, beside other trials; of finalists it is measured by itself."
    return markdown_table(heads, rows, left=2 if results.is_runbook else 1) + "\n\n" + note


def _best_first(variants: list[VariantResult], unit: Measure) -> list[VariantResult]:
    """The baseline, then the finalists, then the others, each by their scores; those without one last."""

    def rank(variant: VariantResult) -> tuple[bool, bool, float]:
        final = variant.over_seeds(unit.dev).mean if variant.finished_finals else None
        score = variant.ranking_score.get(unit.dev, math.inf) if final is None else final
        return not variant.is_baseline, final is None, score

    return sorted(variants, key=rank)


def _seed_counts(variants: list[VariantResult]) -> str:
    counts = [len(variant.finished_finals) for variant in variants if variant.finished_finals]
    return f"{span(counts)} seed{'s' if max(counts) > 1 else ''}" if counts else "seeds"


def _row(variant: VariantResult, unit: Measure, won: bool) -> list[str]:
    plan, score = variant.plan, variant.ranking_score
    final = {field: variant.over_seeds(field) for field in (unit.dev, "dev_bpb", unit.test)}
    return [
        f"**{variant.label}**" if won else variant.label,
        " / ".join(str(plan[key]) for key in ("d_model", "n_layers", "n_heads", "d_ff")),
        compact(plan["total_params"]),
        percent(plan["embedding_share"]),
        f"{plan['glu_expansion']:.2f}",
        _ranking_state(variant),
        perplexity_text(score.get(unit.dev)),
        *(perplexity_text(spread.mean, spread.sd) for spread in final.values()),
        *_speed(variant),
    ]


def _speed(variant: VariantResult) -> list[str]:
    """Latency and speed; none for a run that another stage made, whose row has them."""
    if variant.ranking and variant.ranking.metrics.get("same_run_as") and not variant.finished_finals:
        return [DASH, DASH]
    return [
        significant(variant.latency_ms[1] if variant.latency_ms else None, 3),
        significant(variant.tokens_per_second, 3),
    ]


def _ranking_state(variant: VariantResult) -> str:
    run = variant.ranking
    if run is None:
        return DASH
    if run.metrics.get("same_run_as"):
        return f"is {run.metrics['same_run_as']}"
    if run.status == FINISHED or not run.tokens:
        return run.status
    ended = (run.metrics.get("ran_on") or {}).get(JUDGED_BY)
    if ended is not None:
        return f"killed at {millions(run.tokens)} tokens, ended at {perplexity_text(ended)}"
    word = {DIVERGED: "diverged by", UNFINISHED: "at"}.get(run.status, f"{run.status} at")
    return f"{word} {millions(run.tokens)} tokens"
