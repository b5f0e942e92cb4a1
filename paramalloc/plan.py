"""The plan: every variant's shape, steps and cost in tokens, known before anything is spent.

Always holds: making a plan reads no text, trains nothing and needs no network; a request that no shape meets is an
error that names the experiment. `python tune_main.py SWEEP.yaml --plan` prints it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from paramalloc.allocation import Shape, flops_per_token, print_param_table, solve
from paramalloc.config import SweepConfig, Variant
from paramalloc.data.corpus import open_corpus
from paramalloc.data.prepare import cached
from paramalloc.training.run import Budget

FEW_STEPS = 200
MANY_EPOCHS = 4  # beyond about four passes repeated text is worth less than new (Muennighoff et al. 2023)
_BYTES_PER_TOKEN = {1_000: 2.5, 4_000: 3.5, 16_000: 4.3, 64_000: 4.7}  # English, byte-level BPE; for estimates only


@dataclass(frozen=True)
class VariantPlan:
    """A variant with the shape that the solver found and its two budgets."""

    variant: Variant
    shape: Shape
    ranking: Budget
    final: Budget

    @property
    def name(self) -> str:
        return self.variant.name


@dataclass(frozen=True)
class Plan:
    """All variants of a sweep, the baseline first."""

    config: SweepConfig
    variants: tuple[VariantPlan, ...]

    @property
    def baseline(self) -> VariantPlan:
        return self.variants[0]

    def __getitem__(self, name: str) -> VariantPlan:
        return next(variant for variant in self.variants if variant.name == name)


@dataclass(frozen=True)
class CorpusSize:
    """Tokens of the training text by vocabulary size; estimated ones are marked so."""

    train_tokens: Mapping[int, int]
    estimated: bool


def make_plan(config: SweepConfig) -> Plan:
    """Solve every variant's shape. Errors: UserError for a variant that no shape fits, naming its place."""
    names = [experiment.name for experiment in config.experiments]
    plans = []
    for variant in config.variants:
        shape = solve(variant.model, f"experiments[{names.index(variant.name)}]")
        budgets = (
            (config.ranking.tokens, config.ranking.eval_interval_tokens),
            (variant.training.tokens, config.finalists.eval_interval_tokens),
        )
        ranking, final = (Budget(shape, variant.training, tokens, interval) for tokens, interval in budgets)
        plans.append(VariantPlan(variant, shape, ranking, final))
    return Plan(config, tuple(plans))


def measure_corpus(plan: Plan) -> CorpusSize:
    """Exact where the text is prepared already, else from its bytes and what English usually comes to."""
    corpus_bytes, _ = open_corpus(plan.config.data).size_bytes()
    sizes, estimated = {}, False
    for vocab_size in dict.fromkeys(item.shape.vocab_size for item in plan.variants):
        known = cached(plan.config.data, vocab_size)
        nearest = min(_BYTES_PER_TOKEN, key=lambda size: abs(size - vocab_size))
        sizes[vocab_size] = len(known.train) if known else round(corpus_bytes / _BYTES_PER_TOKEN[nearest])
        estimated |= known is None
    return CorpusSize(sizes, estimated)


def plan_as_json(plan: Plan, size: CorpusSize) -> dict[str, Any]:
    """The content of plan.json."""
    return {
        "sweep": plan.config.name,
        "baseline": plan.baseline.name,
        "corpus": plan.config.data.corpus,
        "train_tokens_estimated": size.estimated,
        "variants": [_variant_as_json(item, size) for item in plan.variants],
        "warnings": warnings(plan, size),
    }


def _variant_as_json(item: VariantPlan, size: CorpusSize) -> dict[str, Any]:
    shape = item.shape
    per_token = flops_per_token(shape)
    return {
        "name": item.name,
        "d_model": shape.d_model,
        "n_layers": shape.n_layers,
        "n_heads": shape.n_heads,
        "d_ff": shape.d_ff,
        "vocab_size": shape.vocab_size,
        "context_length": shape.context_length,
        "tied": shape.tied,
        "params": shape.params_by_component(),
        "total_params": shape.total_params,
        "embedding_share": shape.embedding_share,
        "glu_expansion": shape.glu_expansion,
        "flops_per_token": per_token,
        "learning_rates": item.variant.model_dump(mode="json")["training"]["learning_rate"],
        "train_tokens": size.train_tokens[shape.vocab_size],
        **{
            stage: {
                "tokens": run.total_tokens,
                "steps": run.total_steps,
                "epochs_over_corpus": epochs(run, size),
                "train_flops": per_token * run.total_tokens,
            }
            for stage, run in (("ranking", item.ranking), ("final", item.final))
        },
    }


def epochs(run: Budget, size: CorpusSize) -> float:
    """Passes over the training text that the whole run makes."""
    return run.total_tokens / size.train_tokens[run.shape.vocab_size]


def warnings(plan: Plan, size: CorpusSize) -> list[str]:
    """What a careful reader would object to before the start, in words."""
    found = []
    shortest = min((item.ranking for item in plan.variants), key=lambda run: run.total_steps)
    if shortest.total_steps < FEW_STEPS:
        found.append(
            f"a ranking run has only {shortest.total_steps} steps of {shortest.step_tokens:,} tokens: too few to "
            "rank variants by; lower training.batch_size or raise ranking.tokens"
        )
    if len({item.final.budget_tokens for item in plan.variants}) > 1:
        found.append("the finalists' budgets differ (training.tokens): their scores will not compare at equal tokens")
    runs = {"ranking": [item.ranking for item in plan.variants], "final": [item.final for item in plan.variants]}
    for stage, each in runs.items():
        most = max(epochs(run, size) for run in each)
        if most > MANY_EPOCHS:
            found.append(
                f"a {stage} run passes {most:.1f} times over the corpus: above {MANY_EPOCHS}, variants are ranked "
                "by how they over-fit; use more text or fewer tokens"
            )
    if plan.baseline.ranking.budget_tokens > plan.baseline.final.budget_tokens:
        found.append("ranking.tokens is more than training.tokens: the ranking trains longer than the final")
    ranking = plan.config.ranking
    if ranking.stop == "kill_rule" and ranking.kill_rule.window_tokens >= ranking.tokens:
        found.append("ranking.kill_rule.window_tokens is as long as a ranking run: the rule can never act")
    return found


def print_plan(plan: Plan, size: CorpusSize, console: Console) -> None:
    """The plan for a person: shapes and parameters, then tokens, steps and epochs, then warnings."""
    config = plan.config
    console.print(f"[bold]{config.name}[/]: {len(plan.variants)} variants, baseline {plan.baseline.name}")
    print_param_table({item.name: item.shape for item in plan.variants}, console)
    console.print()
    console.print(_budget_table(plan, size))
    console.print()
    about = "~" if size.estimated else ""
    finalists = min(config.finalists.count + 1, len(plan.variants))
    console.print(
        f"corpus {config.data.corpus}: "
        + ", ".join(f"{about}{tokens:,} tokens at V={size_}" for size_, tokens in size.train_tokens.items())
        + (" (estimated until the text is prepared)" if size.estimated else "")
        + f"; at most {finalists} finalists x {len(config.finalists.seeds)} seeds"
    )
    for warning in warnings(plan, size):
        console.print(f"[yellow]warning:[/] {warning}")


def _budget_table(plan: Plan, size: CorpusSize) -> Table:
    """A row per variant and stage; `most runs` is what the final costs should the variant be promoted."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    headers = ("variant", "stage", "most runs", "Mtokens", "steps", "tokens/step", "epochs", "FLOPs")
    for index, header in enumerate(headers):
        table.add_column(header, justify="left" if index < 2 else "right", no_wrap=True)
    about = "~" if size.estimated else ""
    for item in plan.variants:
        rates = item.variant.training.learning_rate
        ranked = len(rates) if isinstance(rates, tuple) else 1
        stages = (("ranking", item.ranking, ranked), ("finalists", item.final, len(plan.config.finalists.seeds)))
        for stage, run, runs in stages:
            tokens = run.total_tokens
            table.add_row(
                item.name if stage == "ranking" else "",
                stage,
                str(runs),
                f"{tokens / 1e6:,.2f}",
                f"{run.total_steps:,}",
                f"{run.step_tokens:,}",
                f"{about}{epochs(run, size):.2f}",
                f"{flops_per_token(item.shape) * tokens:.2e}",
            )
    return table
