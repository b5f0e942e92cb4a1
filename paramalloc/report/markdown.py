"""REPORT.md: one page with the verdict first, then how it came about, what it cost and how far it reaches.

Always holds: pure text from loaded results; each figure stands with its budget and seeds; scores on all of dev and
on the slice that is looked at on the way are kept apart in words; what is not known is a dash.
"""

from __future__ import annotations

from collections.abc import Sequence

from paramalloc.report.blocks import bullets, markdown_table
from paramalloc.report.cost_section import cost_section
from paramalloc.report.figures import SECTIONS, Picture
from paramalloc.report.findings import limits, mishaps, missing
from paramalloc.report.formats import (
    DASH,
    compact,
    listed,
    millions,
    percent,
    perplexity_text,
    ratio,
    significant,
    span,
)
from paramalloc.report.load import UNFINISHED, Json, SweepResults
from paramalloc.report.preliminaries import data_section, sanity_section
from paramalloc.report.scores import scores_section
from paramalloc.report.smallbench import smallbench_section
from paramalloc.report.variants import Measure, VariantResult, measure, variant_results
from paramalloc.results import DIVERGED, FAILED, FINISHED
from paramalloc.sweep.decisions import AUDIT, KILL, LEARNING_RATE, NOISE, STAGE_WINNER
from paramalloc.sweep.selection import Comparison

_SHORT_HASH = 12


def render_report(results: SweepResults, pictures: Sequence[Picture]) -> str:
    """The whole page. `pictures` are those that lie in figures/."""
    variants = variant_results(results)
    shown = {section: [p for p in pictures if p.section == section] for section in SECTIONS}
    sections = [
        f"# {results.config.name}: sweep report",
        _verdict(results, variants),
        _setup(results, variants),
        "## Results",
        _table(results, variants),
        _charts(shown["results"]),
        *scores_section(variants, one_tokenizer=measure(results.config).dev == "dev_ppl"),
        *smallbench_section(variants),
        "## Decisions",
        _decisions(results, variants),
        *sanity_section(results, _gallery(shown["sanity"])),
        *data_section(results.manifest, _gallery(shown["data"])),
        *cost_section(results, _gallery(shown["cost"])),
        "## Limits of this result",
        bullets(limits(results, variants)),
        "## How to reproduce",
        _reproduce(results, variants),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _verdict(results: SweepResults, variants: list[VariantResult]) -> str:
    winner = results.decided("winner")
    if winner:
        return f"**{winner['sentence']}**"
    baseline = next(variant for variant in variants if variant.is_baseline)
    lost = baseline.ranking.status if baseline.ranking else None
    if lost in (DIVERGED, FAILED):
        return f"**No verdict: the baseline {baseline.name} {lost}, so nothing can be compared with it.**"
    todo = f"Still missing: {'; '.join(missing(results, variants))}."
    return f"**No verdict yet: the sweep is not finished.** {todo} The sweep's own command carries it on."


def _setup(results: SweepResults, variants: list[VariantResult]) -> str:
    config, plans = results.config, [variant.plan for variant in variants]
    about = "about " if results.plan["train_tokens_estimated"] else ""
    texts = dict.fromkeys(
        f"{millions(p['train_tokens'])} tokens at a vocabulary of {p['vocab_size']:,}" for p in plans
    )
    ranking_seeds = sorted({variant.training.seed for variant in config.variants})
    devices = dict.fromkeys(
        f"{t.metrics['device']} in {t.metrics['precision']}" for t in results.trials if t.metrics.get("device")
    )
    return " ".join(
        [
            f"{len(variants)} variants of {span((p['total_params'] for p in plans), compact)} parameters,",
            f"baseline {config.baseline_name}.",
            f"Training text: {config.data.corpus}, {about}{listed(list(texts))}.",
            f"Ranking: {_budget(plans, 'ranking')}, one run for each variant ({_seeds(ranking_seeds)}).",
            f"Finalists: {_budget(plans, 'final')}, {_seeds(config.finalists.seeds)}.",
            f"Peak learning rate {_learning_rates(results)}.",
            f"Trained on {listed(list(devices))}." if devices else "",
        ]
    ).rstrip()


def _learning_rates(results: SweepResults) -> str:
    """Those of the ranking's runs where they are known already, else those of the sweep file."""
    used = [t.metrics["learning_rate"] for t in results.trials if t.stage in results.config.stage_names and t.metrics]
    values = [variant.training.learning_rate for variant in results.config.variants]
    rates = used or [rate for value in values for rate in (value if isinstance(value, tuple) else (value,))]
    known = [rate for rate in rates if not isinstance(rate, str)]
    text = span(known, "{:g}".format) if known else "not found yet"
    return text + (" (from range tests)" if "auto" in values else "")


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {listed([str(seed) for seed in seeds])}"


def _budget(plans: list[Json], stage: str) -> str:
    runs = [plan[stage] for plan in plans]
    tokens = dict.fromkeys(millions(run["tokens"]) for run in runs)
    steps = span(run["steps"] for run in runs)
    epochs = span((run["epochs_over_corpus"] for run in runs), lambda value: significant(value, 2))
    return f"{' or '.join(tokens)} tokens a run ({steps} steps, {epochs} epochs over the corpus)"


def _table(results: SweepResults, variants: list[VariantResult]) -> str:
    unit = measure(results.config)
    lengths = {variant.latency_ms[0] for variant in variants if variant.latency_ms}
    at = f" at {' or '.join(sorted(lengths, key=int))} tokens" if lengths else ""
    per = " per baseline token" if unit.dev != "dev_ppl" else ""
    heads = [
        "variant", "d_model / L / H / d_ff", "params", "share", "expansion", "ranking", f"ranking dev PPL{per}",
        f"final dev PPL{per}", "final dev bpb", f"final test PPL{per}", f"latency p50{at}, ms", "training tokens/s",
    ]  # fmt: skip
    winner = results.decided("winner")
    rows = [_row(variant, unit, bool(winner and winner["winner"] == variant.name)) for variant in variants]
    note = (
        "Ranking and final scores are on all of dev (test), each after its own budget. A run that was killed or "
        "did not finish has none; its curve, on a slice of dev, is in the figures. "
        f"Final scores are mean ± sd over {_seed_counts(variants)}; latency (batch 1) and speed are medians."
    )
    return markdown_table(heads, rows, left=1) + "\n\n" + note


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
        significant(variant.latency_ms[1] if variant.latency_ms else None, 3),
        significant(variant.tokens_per_second, 3),
    ]


def _ranking_state(variant: VariantResult) -> str:
    run = variant.ranking
    if run is None:
        return DASH
    if run.status == FINISHED or not run.tokens:
        return run.status
    word = {DIVERGED: "diverged by", UNFINISHED: "at"}.get(run.status, f"{run.status} at")
    return f"{word} {millions(run.tokens)} tokens"


def _charts(pictures: Sequence[Picture]) -> str:
    if not pictures:
        return "No run has been evaluated yet, so there is nothing to draw."
    more = [f"[{p.caption}](figures/{p.name}.png)" for p in pictures[2:]]
    return _gallery(pictures[:2]) + (f"\n\nSee also the {listed(more)}." if more else "")


def _gallery(pictures: Sequence[Picture]) -> str:
    """Pictures side by side below their captions; nothing where there is none."""
    if not pictures:
        return ""
    cells = [f"![{picture.caption}](figures/{picture.name}.png)" for picture in pictures]
    heads = [picture.caption[0].upper() + picture.caption[1:] for picture in pictures]
    return markdown_table(heads, [cells], left=len(pictures))


def _decisions(results: SweepResults, variants: list[VariantResult]) -> str:
    stop = results.config.ranking.stop
    rates = [f"{row['reason']} (taken)" for row in results.decisions if row["decision"] == LEARNING_RATE]
    said = [row["text"] for row in results.decisions if row["decision"] in (NOISE, KILL, STAGE_WINNER, AUDIT)]
    if not any(row["decision"] == KILL for row in results.decisions):
        said += ["no variant has been killed" + ("" if stop != "none" else ": no rule was to stop any")]
    said = rates + said + mishaps(results)
    promotion = results.decided("promote")
    if promotion:
        said.append(f"finalists: {listed(promotion['variants'])} ({promotion['reason']})")
    winner = results.decided("winner")
    comparisons = [Comparison(**item) for item in winner["comparisons"]] if winner else []
    return bullets(said) + ("\n\n" + _comparisons(results, comparisons) if comparisons else "")


def _comparisons(results: SweepResults, comparisons: list[Comparison]) -> str:
    rules, baseline = results.config.finalists, results.config.baseline_name
    heads = [
        "against " + baseline,
        "dev PPL improvement",
        "95% interval",
        "p (Holm)",
        "outcome",
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
            ratio(item.latency_ratio),
            ratio(item.memory_ratio),
            "yes" if item.qualifies else "no",
        ]
        for item in comparisons
    ]
    note = (
        "Improvement: 1 - PPL / baseline PPL, geometric mean over paired seeds; interval and p-value by Student's t "
        "with the seed variance pooled over all finalists, p-values corrected for several challengers (Holm). "
        f"*Equivalent*: surely within {percent(rules.equivalence_margin, 1)}; *undecided*: seed noise may account "
        "for it; *unknown*: one seed. "
        f"The rule asks for at least {percent(rules.win_margin, 0)} and *better*, with latency and memory at most "
        f"{ratio(1 + rules.tolerance)} the baseline's."
    )
    return markdown_table(heads, rows, left=1) + "\n\n" + note


def _reproduce(results: SweepResults, variants: list[VariantResult]) -> str:
    documents = [trial.metrics for trial in results.trials if trial.metrics]

    def distinct(field: str) -> str:
        return listed(list(dict.fromkeys(str(doc[field] or "unknown") for doc in documents))) or "unknown"

    hashes = dict.fromkeys(f"{doc['variant']} `{doc['config_hash'][:_SHORT_HASH]}`" for doc in documents)
    tokenizers = dict.fromkeys(f"`{doc['tokenizer_hash'][:_SHORT_HASH]}`" for doc in documents)
    facts = [
        f"code: commit {distinct('git_sha')}; torch {distinct('torch_version')}, Ray {distinct('ray_version')}",
        f"configuration: {listed(list(hashes)) or 'unknown'}; tokenizer: {listed(list(tokenizers)) or 'unknown'} "
        f"(SHA-256, first {_SHORT_HASH} digits)",
    ]
    name = results.config.name
    command = f"python tune_main.py results/{name}/sweep.yaml --results results/{name}-again"
    return f"{bullets(facts)}\n\nWith this folder as `results/{name}`:\n\n    {command}"
