"""The trials of each variant put together: its ranking run, its finalists, means and spreads over seeds.

Always holds: a mean is over finished runs that measured the value, and is None where there is none; scores on all
of dev and scores on the slice of it that is looked at on the way are never mixed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean, median, stdev

from paramalloc.config import SweepConfig
from paramalloc.report.load import UNFINISHED, Json, SweepResults, Trial
from paramalloc.results import FINALISTS, FINISHED, JUDGED_BY


@dataclass(frozen=True)
class Measure:
    """Which perplexity compares the variants: names of its dev and test values, and the axis label."""

    dev: str
    test: str
    label: str


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (n - 1) of `n` values; `sd` is None for one, `mean` for none."""

    mean: float | None
    sd: float | None
    n: int


@dataclass(frozen=True)
class VariantResult:
    """One variant: its line of plan.json, its ranking runs (one for each learning rate), and those as a finalist."""

    name: str
    is_baseline: bool
    plan: Json
    ranking_runs: tuple[Trial, ...]
    finals: tuple[Trial, ...]

    @property
    def label(self) -> str:
        return f"{self.name} (baseline)" if self.is_baseline else self.name

    @property
    def ranking(self) -> Trial | None:
        """The ranking run that stands for the variant: the best that finished, else the one that got furthest."""
        finished = [run for run in self.ranking_runs if run.status == FINISHED]
        if finished:
            return min(finished, key=lambda run: (run.metrics[JUDGED_BY], run.metrics["learning_rate"]))
        return max(self.ranking_runs, key=lambda run: (run.status == UNFINISHED, run.tokens), default=None)

    @property
    def finished_finals(self) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.finals if trial.status == FINISHED)

    @property
    def ranking_score(self) -> Json:
        """metrics.json of a finished ranking run, else nothing: the others have no score on all of dev."""
        return self.ranking.metrics if self.ranking and self.ranking.status == FINISHED else {}

    def over_seeds(self, field: str) -> Spread:
        """Mean and spread of one value over the finished finalist runs."""
        return spread([trial.metrics[field] for trial in self.finished_finals])

    @property
    def latency_ms(self) -> tuple[str, float] | None:
        """Longest length that was measured and its median latency, over the finalists or else the ranking run."""
        lengths = [
            {length: value["p50"] for length, value in (metrics["latency_ms"] or {}).items() if value}
            for metrics in self.measured
        ]
        longest = max((length for known in lengths for length in known), key=int, default=None)
        if longest is None:
            return None
        return longest, median(known[longest] for known in lengths if longest in known)

    @property
    def tokens_per_second(self) -> float | None:
        """Median training speed, over the finalists or else the ranking run."""
        known = [m["tokens_per_second"] for m in self.measured if m["tokens_per_second"] is not None]
        return median(known) if known else None

    @property
    def measured(self) -> list[Json]:
        finals = [trial.metrics for trial in self.finished_finals]
        return finals or ([self.ranking_score] if self.ranking_score else [])


def spread(values: list[float | None]) -> Spread:
    known = [value for value in values if value is not None]
    if not known:
        return Spread(None, None, 0)
    return Spread(mean(known), stdev(known) if len(known) > 1 else None, len(known))


def variant_results(results: SweepResults) -> list[VariantResult]:
    """Every variant of the sweep, the baseline first."""
    ranked: dict[str, list[Trial]] = defaultdict(list)
    finals: dict[str, list[Trial]] = defaultdict(list)
    for trial in results.trials:
        if trial.stage in results.config.stage_names:
            ranked[trial.variant].append(trial)
        elif trial.stage == FINALISTS:
            finals[trial.variant].append(trial)
    return [
        VariantResult(
            name=item["name"],
            is_baseline=item["name"] == results.config.baseline_name,
            plan=item,
            ranking_runs=tuple(ranked[item["name"]]),
            finals=tuple(finals[item["name"]]),
        )
        for item in results.plan["variants"]
    ]


def with_finals_of_origin(variant: VariantResult, variants: Sequence[VariantResult]) -> VariantResult:
    """The variant with the final of the one whose run its stage took over, as it is that one under another name."""
    origin = variant.ranking_score.get("same_run_as")
    if origin and not variant.finals:
        for other in variants:
            if other.ranking and f"{other.ranking.stage}/{other.ranking.name}" == origin:
                return replace(variant, finals=other.finals)
    return variant


def measure(config: SweepConfig) -> Measure:
    """Perplexity within one tokenizer; across several, per token that the baseline's makes of the same text."""
    if len({variant.model.vocab_size for variant in config.variants}) == 1:
        return Measure("dev_ppl", "test_ppl", "dev perplexity")
    per = "_per_baseline_token"
    return Measure(f"dev_ppl{per}", f"test_ppl{per}", "dev PPL per baseline token")


def bits_per_byte_factor(results: SweepResults, dev: str) -> float | None:
    """`dev_bpb / ln(perplexity)`, the same for all runs scored on all of dev; None before the first of them.

    Both are the text's total nats over a constant: bpb = nats / (ln 2 * bytes), PPL = exp(nats / tokens). It is
    taken from the best run, because a hopeless one's perplexity is capped.
    """
    scores = [trial.metrics for trial in results.trials if trial.status == FINISHED]
    best = min(scores, key=lambda score: score[dev], default=None)
    return best["dev_bpb"] / math.log(best[dev]) if best and best[dev] > 1 else None
