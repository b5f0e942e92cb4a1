"""What opens the report: the verdict, what was compared how, and the setting that came out best.

Always holds: the verdict is the sweep's own sentence; before there is one it says what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence

from paramalloc.formats import (
    compact,
    count_of,
    listed,
    millions,
    percent,
    perplexity_text,
    significant,
    span,
    with_spread,
)
from paramalloc.report.blocks import bullets
from paramalloc.report.load import Json, SweepResults
from paramalloc.report.search import searched_in_words
from paramalloc.report.sections.findings import missing
from paramalloc.report.variants import Measure, VariantResult, measure
from paramalloc.results import DIVERGED, FAILED
from paramalloc.statistics.words import direction
from paramalloc.sweep.runbook.decisions import stage_winners
from paramalloc.sweep.runbook.selection import Comparison, why_not

_GROUPINGS = {"article": "an article", "file": "a whole file", "blank_line": "a paragraph (text between blank lines)"}


def verdict(results: SweepResults, variants: list[VariantResult]) -> str:
    winner = results.decided("winner")
    if winner:
        return f"**{winner['sentence']}**"
    baseline = next(variant for variant in variants if variant.is_baseline)
    lost = baseline.ranking.status if baseline.ranking else None
    if lost in (DIVERGED, FAILED):
        return f"**No verdict: the baseline {baseline.name} {lost}, so nothing can be compared with it.**"
    todo = f"Still missing: {'; '.join(missing(results, variants))}."
    return (
        f"**No verdict yet: the sweep is not finished.** {todo} If it is not running, its own command carries it on."
    )


def setup(results: SweepResults, variants: list[VariantResult]) -> str:
    """A paragraph: how many variants of which size, the text, the budgets and seeds, learning rates, the machine."""
    config, plans = results.config, [variant.plan for variant in variants]
    about = "about " if results.plan["train_tokens_estimated"] else ""
    sizes_by_vocabulary = {plan["vocab_size"]: plan["train_tokens"] for plan in plans}
    texts = [f"{millions(tokens)} tokens at a vocabulary of {size:,}" for size, tokens in sizes_by_vocabulary.items()]
    if len(texts) > 2:
        tokens = span(sizes_by_vocabulary.values(), millions)
        texts = [f"{tokens} tokens at {len(texts)} vocabularies of {span(sizes_by_vocabulary)}"]
    ranking_seeds = sorted({variant.training.seed for variant in config.variants})
    devices = dict.fromkeys(
        f"{t.metrics['device']} in {t.metrics['precision']}" for t in results.trials if t.metrics.get("device")
    )
    sizes = span((plan["total_params"] for plan in plans), compact)
    return " ".join(
        [
            f"{count_of(len(variants), 'variant')} of {sizes} parameters, baseline {config.baseline_name}.",
            *_stages(results),
            *searched_in_words(results),
            f"Training text: {config.data.corpus}, {about}{listed(texts)}{_grouping(results.manifest)}.",
            f"Ranking: {_budget(plans, 'ranking')}, {_runs_per_variant(results)} ({_seeds(ranking_seeds)}).",
            f"Finalists: {_budget(plans, 'final')}, {_seeds(config.finalists.seeds)}.",
            _learning_rates(results),
            f"Trained on {listed(list(devices))}." if devices else "",
        ]
    ).rstrip()


def best_setting(results: SweepResults, variants: list[VariantResult]) -> list[str]:
    """Heading and list: the knobs and the shape of the winner, and what it scores; nothing without a winner."""
    winner = results.decided("winner")
    if not winner:
        return []
    variant = next(item for item in variants if item.name == winner["winner"])
    plan, unit = variant.plan, measure(results.config)
    rates = dict.fromkeys(f"{run.metrics['learning_rate']:g}" for run in variant.finished_finals)
    scores = {field: variant.over_seeds(field) for field in ("dev_bpb", unit.dev, unit.test)}
    shown = (
        f"{with_spread(scores['dev_bpb'].mean, scores['dev_bpb'].sd)} bits per byte on dev, perplexity "
        f"{perplexity_text(scores[unit.dev].mean, scores[unit.dev].sd)} on dev and "
        f"{perplexity_text(scores[unit.test].mean, scores[unit.test].sd)} on test"
    )
    return [
        "## Best setting",
        bullets(
            [
                f"**{variant.label}**: {percent(plan['embedding_share'])} of {plan['total_params']:,} parameters in "
                f"the token table, SwiGLU expansion {plan['glu_expansion']:.2f}, vocabulary {plan['vocab_size']:,}, "
                f"{'tied' if plan['tied'] else 'untied'} head, peak learning rate {listed(list(rates)) or 'unknown'}",
                f"shape: d_model {plan['d_model']}, {count_of(plan['n_layers'], 'layer')}, "
                f"{count_of(plan['n_heads'], 'head')}, d_ff {plan['d_ff']}, context {plan['context_length']:,}",
                f"after {millions(plan['final']['tokens'])} tokens: {shown} (mean ± sd over "
                f"{count_of(len(variant.finished_finals), 'seed')})",
                *_lower(results, variant, variants, unit),
            ]
        ),
    ]


def _lower(results: SweepResults, winner: VariantResult, variants: list[VariantResult], unit: Measure) -> list[str]:
    """That another finalist's perplexity is lower than the winner's, and why it does not win."""
    means = {v.name: v.over_seeds(unit.dev).mean for v in variants if v.finished_finals}
    known = {name: mean for name, mean in means.items() if mean is not None}
    lowest = min(known, key=lambda name: known[name], default=winner.name)
    if winner.name not in known or known[lowest] >= known[winner.name]:
        return []
    text = f"{lowest} has a lower mean, {perplexity_text(known[lowest])} on dev"
    decided = results.decided("winner") or {}
    compared = next((item for item in decided["comparisons"] if item["variant"] == lowest), None)
    if compared is None:  # it is the baseline, which a winner has beaten in pairs of seeds
        return [text]
    item = Comparison(**compared)
    lower = direction(item.improvement, item.improvement)
    return [f"{text} ({lower} than the baseline's), {why_not(item, results.config.finalists)}"]


def _stages(results: SweepResults) -> list[str]:
    """Of a runbook: what was ranked on what."""
    if not results.is_runbook:
        return []
    winners = {stage: row["variant"] for stage, row in stage_winners(results.decisions).items()}
    said = []
    for stage in results.config.places.values():
        base = winners.get(stage.builds_on or "", f"the winner of {stage.builds_on}")
        on = f" on {base}" if stage.builds_on else ""
        said.append(f"{stage.name}{on} ({listed([variant.name for variant in results.stages[stage.name]])})")
    return [f"Ranked in {len(said)} stages: {'; '.join(said)}."]


def _grouping(manifest: Json | None) -> str:
    """What counts as a document; the built-in text has documents of its own."""
    chosen = manifest["settings"]["documents"] if manifest else None
    return f" (a document is {_GROUPINGS[chosen]})" if chosen else ""


def _runs_per_variant(results: SweepResults) -> str:
    rates = [variant.training.learning_rate for variant in results.config.variants]
    searched = any(isinstance(rate, tuple) and len(rate) > 1 for rate in rates)
    return "one run for each variant and learning rate" if searched else "one run for each variant"


def _learning_rates(results: SweepResults) -> str:
    """How the rates were come by: given, given as a list to choose from, or found by range tests."""
    values = [variant.training.learning_rate for variant in results.config.variants]
    given = sorted({value for value in values if isinstance(value, int | float)})
    tried = sorted({rate for value in values if isinstance(value, tuple) for rate in value})
    said = []
    if given:
        others = " (given)" if tried or "auto" in values else ""
        said.append(f"Peak learning rate {span(given, '{:g}'.format)}{others}.")
    if tried:
        rates = listed([f"{rate:g}" for rate in tried])
        said.append(f"Peak learning rates tried: {rates}; a variant stands for its best.")
    if "auto" in values:
        automatic, stages = _automatic(results), results.config.stage_names
        runs = [t.metrics for t in results.trials if t.stage in stages and t.metrics and t.variant in automatic]
        found = span((run["learning_rate"] for run in runs), "{:g}".format) if runs else "not found yet"
        said.append(f"Peak learning rate from range tests: {found}.")
    return " ".join(said)


def _automatic(results: SweepResults) -> set[str]:
    return {variant.name for variant in results.config.variants if variant.training.learning_rate == "auto"}


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {listed([str(seed) for seed in seeds])}"


def _budget(plans: list[Json], stage: str) -> str:
    runs = [plan[stage] for plan in plans]
    tokens = dict.fromkeys(millions(run["tokens"]) for run in runs)
    steps = span(run["steps"] for run in runs)
    epochs = span((run["epochs_over_corpus"] for run in runs), lambda value: significant(value, 2))
    return f"{' or '.join(tokens)} tokens a run ({steps} steps, {epochs} epochs over the corpus)"
