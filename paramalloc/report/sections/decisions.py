"""The report's section on what was decided and why: learning rates, kills, promotions, and each challenger's effect.

Always holds: decisions stand in the words of decisions.jsonl; the numbers beside a challenger are those that the
verdict rested on.
"""

from __future__ import annotations

from paramalloc.formats import DASH, listed, percent, ratio
from paramalloc.proposals import PROPOSALS
from paramalloc.report.blocks import bullets, markdown_table
from paramalloc.report.load import Json, SweepResults
from paramalloc.report.sections.findings import mishaps
from paramalloc.report.variants import VariantResult
from paramalloc.sweep.runbook.decisions import AUDIT, KILL, LEARNING_RATE, NOISE, STAGE_WINNER
from paramalloc.sweep.runbook.selection import Comparison


def decisions_section(results: SweepResults, variants: list[VariantResult]) -> list[str]:
    """Heading, a line for each decision, and each challenger against the baseline once there is a verdict."""
    rates = [f"{row['reason']} (taken)" for row in results.decisions if row["decision"] == LEARNING_RATE]
    said = [*rates, *_on_the_way(results), *mishaps(results)]
    promotion = results.decided("promote")
    if promotion:
        said.append(f"finalists: {listed(promotion['variants'])} ({promotion['reason']})")
    winner = results.decided("winner")
    comparisons = [Comparison(**item) for item in winner["comparisons"]] if winner else []
    return ["## Decisions", bullets(said), *_effects(results, comparisons, winner)]


def _on_the_way(results: SweepResults) -> list[str]:
    """Noise, kills, proposals, the winners of stages and the audit, in the order they were decided."""
    kinds = (NOISE, KILL, PROPOSALS, STAGE_WINNER, AUDIT)
    said = [row["text"] for row in results.decisions if row["decision"] in kinds]
    if not any(row["decision"] == KILL for row in results.decisions):
        off = "" if results.config.ranking.stop != "none" else ": no rule was to stop any"
        said.append(f"no variant has been killed{off}")
    return said


def _effects(results: SweepResults, comparisons: list[Comparison], winner: Json | None) -> list[str]:
    if not winner or not comparisons:
        return []
    chances = winner.get("probability_best") or {}
    return ["### Each challenger against the baseline", _comparisons(results, comparisons, chances)]


def _comparisons(results: SweepResults, comparisons: list[Comparison], chances: dict[str, float]) -> str:
    rules, baseline = results.config.finalists, results.config.baseline_name
    heads = [
        "against " + baseline,
        "dev PPL improvement",
        "95% interval",
        "p (Holm)",
        "outcome",
        "chance of being best",
        "latency",
        "memory",
        "wins by the rule",
    ]
    rows = [
        [
            item.variant,
            f"{item.improvement:+.1%}",
            DASH if item.low is None or item.high is None else f"{item.low:+.1%} to {item.high:+.1%}",
            DASH if item.p_holm is None else f"{item.p_holm:.2g}",
            item.outcome,
            percent(chances.get(item.variant), 0),
            ratio(item.latency_ratio),
            ratio(item.memory_ratio),
            "yes" if item.qualifies else "no",
        ]
        for item in comparisons
    ]
    note = (
        "Improvement: 1 - PPL / baseline PPL, geometric mean over paired seeds; interval and p-value by Student's t "
        "with the seed variance pooled over all finalists, p-values corrected for several challengers (Holm). "
        f"The chance of being best is among the finalists, given their scores; the baseline's is "
        f"{percent(chances.get(baseline), 0)}. *Equivalent*: surely within {percent(rules.equivalence_margin, 1)}; "
        "*undecided*: seed noise may account for it; *unknown*: one seed. "
        f"The rule asks for at least {percent(rules.win_margin, 0)} and *better*, with latency and memory at most "
        f"{ratio(1 + rules.tolerance)} the baseline's."
    )
    return markdown_table(heads, rows, left=1) + "\n\n" + note
