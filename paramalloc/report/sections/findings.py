"""What a careful reader has to be told beside the numbers: what is missing, and how far the result reaches.

Always holds: every sentence is computed from the result files; none is said that they do not bear out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from paramalloc.formats import listed, millions, percent, significant, span
from paramalloc.report.knob import differing_knobs
from paramalloc.report.learning_rates import edge_warnings, rate_searches
from paramalloc.report.load import UNFINISHED, SweepResults
from paramalloc.report.variants import VariantResult, measure
from paramalloc.results import DIVERGED, FAILED, FINALISTS, FINISHED

_KNOBS: dict[str, tuple[str, Callable[[Any], str]]] = {  # that a sweep could have varied: how to name and show them
    "embedding_ratio": ("embedding share", "{:.0%} asked for".format),
    "glu_expansion": ("SwiGLU expansion", "{:g} asked for".format),
    "vocab_size": ("vocabulary", "{:,}".format),
    "tied": ("head", lambda tied: "tied" if tied else "untied"),
    "context_length": ("context length", "{:,}".format),
    "batch_size": ("batch size", "{:,}".format),
    "warmup_fraction": ("warm-up", "{:.0%} of a run".format),
    "weight_decay": ("weight decay", "{:g}".format),
    "beta2": ("AdamW's second beta", "{:g}".format),
    "grad_clip": ("gradient clipping", "{:g}".format),
}
_ACHIEVED: dict[str, tuple[str, str, Callable[[float], str]]] = {  # by rounding not what was asked for
    "embedding_ratio": ("embedding_share", "embedding share", percent),
    "glu_expansion": ("glu_expansion", "SwiGLU expansion", "{:.2f}".format),
}
_NOTEWORTHY = 0.01  # of a knob's value
_MOST_NAMES = 6  # in a sentence
COMPUTE_OPTIMAL = 20  # tokens per parameter


def missing(results: SweepResults, variants: list[VariantResult]) -> list[str]:
    """What the sweep has still to do, in words; empty once it has a winner."""
    if results.decided("winner"):
        return []
    found = []
    for variant in variants:
        run = variant.ranking
        if run is None:
            found.append(f"{variant.name} has not been ranked")
        elif run.status == UNFINISHED:
            budget = variant.plan["ranking"]["tokens"]
            found.append(
                f"the ranking of {variant.name} stands at {millions(run.tokens)} of {millions(budget)} tokens"
            )
    promotion = results.decided("promote")
    if promotion is None:
        return [*found, "no finalists have been chosen"]
    seeds = len(results.config.finalists.seeds)
    for variant in variants:
        ended = sum(trial.status != UNFINISHED for trial in variant.finals)
        if variant.name in promotion["variants"] and ended < seeds:
            found.append(f"{variant.name} has ended {ended} of {seeds} finalist runs")
    return [*found, "no winner has been named"]


def mishaps(results: SweepResults) -> list[str]:
    """Trials that failed or diverged, and where to look."""
    found = []
    for trial in results.trials:
        if trial.status == FAILED:
            found.append(f"{trial.name} failed in the {trial.stage}: see `{trial.stage}/{trial.name}/error.txt`")
        elif trial.status == DIVERGED:
            found.append(f"{trial.name} diverged in the {trial.stage} by {millions(trial.tokens)} tokens")
    return found


def limits(results: SweepResults, variants: list[VariantResult]) -> list[str]:
    """How far the result reaches, one sentence or two each."""
    return [
        *_seeds(results, variants),
        *_left_out(results),
        *_kill_rule(results, variants),
        *(f"{warning[0].upper()}{warning[1:]}." for warning in results.plan["warnings"]),
        *_learning_rate(results, variants),
        *_not_tuned(results),
        *_shapes(results, variants),
        *_budgets(variants),
        *_shared_machine(results),
    ]


def _seeds(results: SweepResults, variants: list[VariantResult]) -> Iterator[str]:
    counts = [len(variant.finished_finals) for variant in variants if variant.finished_finals]
    seeds = min(counts, default=0)
    if seeds == 1:
        yield "A finalist with a single finished seed: its difference to the others cannot be told from seed noise."
    elif seeds > 1:
        # The relative standard error of a standard deviation of n normal values is about 1 / sqrt(2 (n - 1)).
        yield (
            f"{seeds} seeds for a finalist: a standard deviation from so few is itself uncertain by about "
            f"{percent(1 / math.sqrt(2 * (seeds - 1)), 0)}."
        )
    ranked_out = "The ranking is one seed for each variant, so a variant may have been ranked out by seed noise"
    if results.is_runbook:
        ranked_out += ", and a stage may be built on a winner by chance"
    noise = (results.decided("noise") or {}).get("ranking")
    if noise:
        least = percent(noise["minimum_detectable_effect"])
        ranked_out += f"; by the noise calibration a difference between two such runs shows from about {least} on"
    yield f"{ranked_out}."


def _left_out(results: SweepResults) -> Iterator[str]:
    """Variants that have no shape on the winner that their stage is built on."""
    for stage in results.plan.get("stages", ()):
        for name in stage.get("left_out", {}):
            yield (
                f"{name} is left out of the stage {stage['name']}: on {stage['built_on']} no shape of that total "
                "comes near enough to what it asks for (plan.json has the arithmetic)."
            )


def _kill_rule(results: SweepResults, variants: list[VariantResult]) -> Iterator[str]:
    ranking = results.config.ranking
    killed = [row["variant"] for row in results.decisions if row["decision"] == "kill"]
    if not killed:
        return
    unit = measure(results.config)
    by = f"a margin of {ranking.kill_rule.margin_ppl:g} PPL" if ranking.stop == "kill_rule" else "its rank"
    text = (
        f"{listed(killed)} {'was' if len(killed) == 1 else 'were'} stopped on one run's curve by {by}, "
        f"on a slice of dev, and {'has' if len(killed) == 1 else 'have'} no final score"
    )
    baseline = next(variant for variant in variants if variant.is_baseline)
    sd = baseline.over_seeds(unit.dev).sd
    if sd:
        text += f"; the baseline's own finalists differ by {significant(sd, 2)} PPL (sd over seeds)"
    yield text + "."


def _learning_rate(results: SweepResults, variants: list[VariantResult]) -> Iterator[str]:
    rates = {variant.training.learning_rate for variant in results.config.variants}
    warnings = edge_warnings(rate_searches(results, variants))
    yield from warnings[:_MOST_NAMES]
    if len(warnings) > _MOST_NAMES:
        yield f"So did {len(warnings) - _MOST_NAMES} more variants at an edge of theirs."
    if "auto" in rates:
        yield "A learning rate from a range test is a sensible guess, not the best of several full runs."
    elif len(rates) == 1 and len(results.config.variants) > 1:
        (rate,) = rates
        if not isinstance(rate, tuple):
            yield (
                f"The peak learning rate is {rate:g} for all variants and was not searched for any of them: one may "
                "sit further from its best rate than another."
            )


def _not_tuned(results: SweepResults) -> Iterator[str]:
    """The knobs that are the same for all variants."""
    first = results.variants[0]
    knobs = first.model.model_dump() | first.training.model_dump()
    varied = {*differing_knobs(results.variants), "total_params"}
    same = [f"{words} ({show(knobs[name])})" for name, (words, show) in _KNOBS.items() if name not in varied]
    yield f"Not tuned, but the same for all variants: {listed(same)}."


def _shapes(results: SweepResults, variants: list[VariantResult]) -> Iterator[str]:
    """At a fixed total a knob cannot move alone: width, depth, and by rounding a knob that was to stay move too."""
    varied = set(differing_knobs(results.variants))
    moved = [
        words.format(span([variant.plan[key] for variant in variants]))
        for words, key in (("width (d_model {})", "d_model"), ("depth ({} layers)", "n_layers"))
        if len({variant.plan[key] for variant in variants}) > 1
    ]
    for knob, (key, words, show) in _ACHIEVED.items():
        values = [variant.plan[key] for variant in variants]
        if knob not in varied and max(values) > (1 + _NOTEWORTHY) * min(values):
            moved.append(f"{words} ({show(min(values))} to {show(max(values))})")
    if moved:
        yield (
            f"Variants also differ in {listed(moved)}: the effect is of the whole allocation, not of one knob alone."
        )


def _budgets(variants: list[VariantResult]) -> Iterator[str]:
    """Runs far shorter than compute-optimal favour what learns fast over what ends low."""
    plan = next(variant.plan for variant in variants if variant.is_baseline)
    ranking, final = (plan[run]["tokens"] / plan["total_params"] for run in ("ranking", "final"))
    if final < COMPUTE_OPTIMAL:
        yield (
            f"A ranking run of the baseline sees {significant(ranking, 2)} tokens per parameter and a final one "
            f"{significant(final, 2)}, where about {COMPUTE_OPTIMAL} are compute-optimal (Hoffmann et al., 2022): "
            "that the order stays the same in longer training is not shown."
        )


def _shared_machine(results: SweepResults) -> Iterator[str]:
    together = trials_at_once(results)
    finished = any(trial.status == FINISHED for trial in results.trials)
    if finished and together > 1:
        finals = [trial for trial in results.trials if trial.stage == FINALISTS and trial.metrics]
        separately = finals and all(
            trial.metrics["profiled_alone"] is not None for trial in finals if trial.status == FINISHED
        )
        measured = "tokens/s, and the latency of those not in the final," if separately else "latency and tokens/s"
        yield f"Up to {together} trials ran at once on one machine, so {measured} were measured among neighbours."
    busy = [trial.metrics for trial in results.trials if trial.metrics.get("profiled_alone") is False]
    if busy:
        load = max((item["other_load_cores"] or 0.0 for item in busy), default=0.0)
        names = list(dict.fromkeys(item["variant"] for item in busy))
        whose = listed(names) if len(names) <= _MOST_NAMES else f"{len(names)} variants"
        yield (
            f"The machine was not idle otherwise (up to {load:.1f} cores busy) while latency and memory of {whose} "
            "were measured."
        )


def trials_at_once(results: SweepResults) -> int:
    """The most trials that held a share of one node at the same time."""
    edges = [
        (time, change, attempt.node)
        for attempt in results.attempts
        for time, change in ((attempt.start, 1), (attempt.end, -1))
    ]
    running: dict[str, int] = {}
    most = 0
    for _, change, node in sorted(edges):  # at one instant ends come before starts
        running[node] = running.get(node, 0) + change
        most = max(most, running[node])
    return most
