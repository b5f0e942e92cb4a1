"""The plan: every variant's shape, steps and cost in tokens, known before anything is spent.

Always holds: making a plan reads no text, trains nothing and needs no network; a request that no shape meets is an
error that names the experiment. `python tune_main.py SWEEP.yaml --plan` prints it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from paramalloc.allocation import Shape, flops_per_token, solve
from paramalloc.config import StageConfig, SweepConfig, Variant
from paramalloc.data.corpus import open_corpus
from paramalloc.data.prepare import cached
from paramalloc.errors import UserError
from paramalloc.proposals import Proposal, with_proposals
from paramalloc.training.run import Budget

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
class StagePlan:
    """One ranking: its variants, the baseline first.

    `built_on`: the variant whose settings they start from, None for those of the sweep file; `assumed`: that this is
    not decided yet, and a baseline stands for it; `left_out`: variants that have no shape on what they are built on,
    each with the reason.
    """

    name: str
    variants: tuple[VariantPlan, ...]
    built_on: str | None
    assumed: bool
    left_out: Mapping[str, str]

    @property
    def baseline(self) -> VariantPlan:
        return self.variants[0]


@dataclass(frozen=True)
class Plan:
    """The ranking stages of a sweep in their order; the first one's baseline is that of the whole.

    `config`: with what was proposed among its experiments; `to_come`: proposals that are not known yet.
    """

    config: SweepConfig
    stages: tuple[StagePlan, ...]
    to_come: int = 0

    @property
    def variants(self) -> tuple[VariantPlan, ...]:
        return tuple(item for stage in self.stages for item in stage.variants)

    @property
    def baseline(self) -> VariantPlan:
        return self.stages[0].baseline

    @property
    def vocab_sizes(self) -> tuple[int, ...]:
        """Those to prepare at the start: the variants', and the largest that a search may ask the text for."""
        sizes = dict.fromkeys(item.shape.vocab_size for item in self.variants)
        if self.config.search and self.config.search.vocab_size:
            sizes |= {self.config.search.vocab_size[1]: None}
        return tuple(sizes)

    @property
    def most_challengers(self) -> int:
        """As many finalists as there may be beside the baseline: winners of stages, and others of the last one."""
        return min(len(self.variants) - 1 + self.to_come, len(self.stages) - 1 + self.config.most_promoted)

    def takes_over(self, stage: StagePlan) -> bool:
        """Whether the stage's baseline is what the stage is built on, and so has been trained already."""
        return stage.built_on is not None and stage.baseline.variant.is_as(self[stage.built_on].variant)

    def __getitem__(self, name: str) -> VariantPlan:
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, VariantPlan]:
        return {variant.name: variant for variant in reversed(self.variants)}


@dataclass(frozen=True)
class CorpusSize:
    """Tokens of the training text by vocabulary size; estimated ones are marked so."""

    train_tokens: Mapping[int, int]
    estimated: bool


def make_plan(
    config: SweepConfig, winners: Mapping[str, str] | None = None, proposals: Sequence[Proposal] = ()
) -> Plan:
    """Solve every variant's shape.

    Args:
        winners: those of ranking stages, as far as they are decided; a stage's baseline is taken for the others.
        proposals: those of the search so far.
    Errors: UserError for variants that no shape fits, naming the place of the first; in a stage that is built on
    another's winner such a variant is left out instead, unless all are such.
    """
    to_come = max(0, config.search.trials - len(proposals)) if config.search else 0
    config = with_proposals(config, proposals)
    named = {stage.name: [item.name for item in stage.enabled] for stage in config.places.values()}
    known = {stage: name for stage, name in (winners or {}).items() if name in named.get(stage, ())}
    resolved = config.resolve(known)
    stages = []
    misfits: dict[str, UserError] = {}
    for place, stage in config.places.items():
        plans, left_out = _plan_stage(config, stage, place, resolved[stage.name])
        if not plans or (left_out and stage.builds_on is None):
            misfits |= left_out
            continue
        base, assumed = None, False
        if stage.builds_on is not None:
            assumed = stage.builds_on not in known
            base = resolved[stage.builds_on][0].name if assumed else known[stage.builds_on]
        reasons = {name: str(error) for name, error in left_out.items()}
        stages.append(StagePlan(stage.name, plans, base, assumed, reasons))
    if misfits:
        raise _misfit(misfits)
    return Plan(config, tuple(stages), to_come)


def _misfit(misfits: Mapping[str, UserError]) -> UserError:
    """All variants without a shape in one error: the first with its arithmetic, the others by name."""
    first, *others = misfits
    error = misfits[first]
    if not others:
        return error
    return UserError(error.place, error.got, f"{error.allowed}; no shape fits {', '.join(others)} either")


def _plan_stage(
    config: SweepConfig, stage: StageConfig, place: str, variants: Sequence[Variant]
) -> tuple[tuple[VariantPlan, ...], dict[str, UserError]]:
    """The stage's variants that have a shape, and why the others have none."""
    names = [experiment.name for experiment in stage.experiments]
    plans: list[VariantPlan] = []
    left_out: dict[str, UserError] = {}
    for variant in variants:
        try:
            plans.append(_plan_variant(config, variant, f"{place}experiments[{names.index(variant.name)}]"))
        except UserError as error:
            left_out[variant.name] = error
    return tuple(plans), left_out


def _plan_variant(config: SweepConfig, variant: Variant, place: str) -> VariantPlan:
    shape = solve(variant.model, place)
    ranking = Budget(shape, variant.training, config.ranking.tokens, config.ranking.eval_interval_tokens)
    final = Budget(shape, variant.training, variant.training.tokens, config.finalists.eval_interval_tokens)
    return VariantPlan(variant, shape, ranking, final)


def rates_tried(item: VariantPlan) -> int:
    """How many peak learning rates a variant is ranked at."""
    rates = item.variant.training.learning_rate
    return len(rates) if isinstance(rates, tuple) else 1


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


def plan_as_json(plan: Plan, size: CorpusSize, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """The content of plan.json. `warnings`: those of `plan_warnings`."""
    return {
        "sweep": plan.config.name,
        "baseline": plan.baseline.name,
        "corpus": plan.config.data.corpus,
        "train_tokens_estimated": size.estimated,
        "stages": [
            {
                "name": stage.name,
                "baseline": stage.baseline.name,
                "variants": [item.name for item in stage.variants],
                "built_on": stage.built_on,
                "assumed": stage.assumed,
                "left_out": dict(stage.left_out),
            }
            for stage in plan.stages
        ],
        "variants": [_variant_as_json(item, size) for item in plan.variants],
        "warnings": list(warnings),
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


def stage_in_words(stage: StagePlan) -> str:
    """`stage glu, built on emb35 (should it win)`: whose settings its variants start from."""
    if stage.built_on is None:
        return f"stage {stage.name}"
    return f"stage {stage.name}, built on {stage.built_on}" + (" (should that win)" if stage.assumed else "")
