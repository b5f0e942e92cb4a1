"""The sections of a sweep file, with every default: what a model, a training run, a ranking and so on may be told.

Always holds: frozen; an unknown key, a wrong type or a value out of range is refused, with its dotted path; no other
module knows a default. `paramalloc.config` puts them together and hands them on.

Units are in the names: `_tokens`, `_seconds`, `_usd`, `_bytes`; `batch_size` counts sequences per optimiser step.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegativeFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
LearningRates = Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
VocabSize = Annotated[int, Field(ge=257, le=2**31 - 1)]
Expansion = Annotated[float, Field(gt=0, le=64)]


class PlacedError(ValueError):
    """A mistake found across fields: `PlacedError(place, got, allowed)`, the place dotted from the top."""


class Section(BaseModel):
    """A frozen part of the sweep file; `true` and `false` are never taken for the numbers 1 and 0."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _no_bool_as_number(cls, value: Any, info: Any) -> Any:
        if isinstance(value, bool) and not _takes_bool(cls.model_fields[info.field_name].annotation):
            raise ValueError("true and false are no numbers here")
        return value


def _takes_bool(annotation: Any) -> bool:
    return annotation is bool or any(_takes_bool(part) for part in get_args(annotation))


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) != len(seeds):
        raise ValueError("a seed stands there twice")
    return seeds


class DataConfig(Section):
    """Where the text comes from. `corpus`: synthetic, wikitext-2, wikitext-103, or the path of a file or folder."""

    corpus: str = Field("wikitext-103", min_length=1)
    documents: Literal["auto", "article", "file", "blank_line"] = "auto"
    held_out_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    held_out_max_bytes: PositiveInt = 5_000_000  # of a split that is cut from train; more takes long to score
    on_overlap: Literal["error", "drop_train"] = "drop_train"
    synthetic_bytes: Annotated[int, Field(ge=10_000)] = 8_000_000
    seed: Seed = 0
    licence: str | None = None  # of a text of your own, for the manifest; the built-in corpora know theirs
    cache_dir: str = "~/.cache/paramalloc"


class ModelConfig(Section):
    """What the allocation solver is asked for; the shape it finds is within 0.5 % of `total_params`."""

    total_params: Annotated[int, Field(ge=100_000, le=1_000_000_000)] = 10_000_000
    vocab_size: VocabSize = 16_000
    embedding_ratio: Fraction = 0.35
    glu_expansion: Expansion = 2.66
    tied: bool = True
    n_heads: PositiveInt | Literal["auto"] = "auto"
    context_length: Annotated[int, Field(ge=8)] = 512


class TrainingConfig(Section):
    """One training run. `tokens` is the budget of a finalist; the warm-up is a share of whatever budget runs.

    `learning_rate` is the peak. A list ranks the variant at each of its values and keeps the best; `auto` takes what
    the learning-rate range test of the sanity stage suggests for the variant. `compile: auto` compiles the model
    where that saves more seconds of the run than it takes.
    """

    tokens: PositiveInt = 50_000_000
    batch_size: PositiveInt = 256
    micro_batch_size: PositiveInt | Literal["auto"] = "auto"
    learning_rate: PositiveFloat | Literal["auto"] | LearningRates = 1e-3
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.05
    weight_decay: NonNegativeFloat = 0.1
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    grad_clip: PositiveFloat = 1.0
    precision: Precision = "auto"
    compile: bool | Literal["auto"] = "auto"
    checkpoint_seconds: PositiveFloat = 60.0
    seed: Seed = 0

    @field_validator("learning_rate")
    @classmethod
    def _distinct_rates(cls, value: float | str | tuple[float, ...]) -> float | str | tuple[float, ...]:
        if isinstance(value, tuple) and len(set(value)) != len(value):
            raise ValueError("a learning rate stands there twice")
        return value


class KillRuleConfig(Section):
    """A trial dies after `window_tokens` spent at least `margin_ppl` above the baseline at every evaluation."""

    margin_ppl: PositiveFloat = 0.5
    window_tokens: PositiveInt = 1_000_000


class RankingConfig(Section):
    """Every variant once, at `tokens`. `stop`: who is stopped early.

    `kill_rule`: who stays behind the baseline. `asha`: by successive halving, all but the best third at a ninth of
    the budget, and so on. `none`: nobody.
    `noise_seeds`: the baseline is run with each of them at both budgets before the ranking, to know how large
    a difference seeds alone make; empty for none. `audit`: one killed trial is run again to its end.
    """

    tokens: PositiveInt = 5_000_000
    eval_interval_tokens: PositiveInt = 250_000
    stop: Literal["kill_rule", "asha", "none"] = "kill_rule"
    kill_rule: KillRuleConfig = KillRuleConfig()
    noise_seeds: tuple[Seed, ...] = ()
    audit: bool = False

    @field_validator("noise_seeds")
    @classmethod
    def _enough_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(seeds) == 1:
            raise ValueError("noise shows from two seeds on; five are better")
        return _distinct(seeds)

    @model_validator(mode="before")
    @classmethod
    def _older_spelling(cls, raw: Any) -> Any:
        """Results and sweep files from before `stop` say `kill_rule: {enabled: false}`."""
        rule = raw.get("kill_rule") if isinstance(raw, dict) else None
        if not isinstance(rule, dict) or not isinstance(rule.get("enabled"), bool):
            return raw
        kept = {key: value for key, value in rule.items() if key != "enabled"}
        return {"stop": "kill_rule" if rule["enabled"] else "none", **raw, "kill_rule": kept}


class SearchConfig(Section):
    """Allocations that Optuna proposes beside the experiments, for few bits per byte at a low latency.

    `trials`: how many it proposes in all, `at_once` of them in a round, which knows the results of those before it.
    A knob with a range `[low, high]` is searched, the others stay as in `model`; vocabularies are a multiple of
    `vocab_step` above the lowest, since each needs a tokenizer of its own.
    """

    trials: PositiveInt = 24
    at_once: PositiveInt = 4
    embedding_ratio: tuple[Fraction, Fraction] | None = None
    glu_expansion: tuple[Expansion, Expansion] | None = None
    vocab_size: tuple[VocabSize, VocabSize] | None = None
    vocab_step: PositiveInt = 1_000
    seed: Seed = 0

    @field_validator("embedding_ratio", "glu_expansion", "vocab_size")
    @classmethod
    def _rising(cls, span: tuple[float, float] | None) -> tuple[float, float] | None:
        if span is not None and span[0] >= span[1]:
            raise ValueError("allowed: [low, high], the first below the second")
        return span

    @model_validator(mode="after")
    def _something_to_search(self) -> SearchConfig:
        if not self.ranges:
            raise PlacedError("search", "no range", "give one for embedding_ratio, glu_expansion or vocab_size")
        if self.vocab_size and (self.vocab_size[1] - self.vocab_size[0]) % self.vocab_step:
            allowed = f"allowed: two sizes that are a multiple of search.vocab_step ({self.vocab_step:,}) apart"
            raise PlacedError("search.vocab_size", f"{list(self.vocab_size)}", allowed)
        return self

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Lowest and highest value of each knob that is searched."""
        spans = {name: getattr(self, name) for name in ("embedding_ratio", "glu_expansion", "vocab_size")}
        return {name: span for name, span in spans.items() if span is not None}


EXTRA_CONTENDERS = 2  # finalists beyond `finalists.count` where noise does not tell them from the best


class FinalistsConfig(Section):
    """How many variants are rerun beside the baseline, with which seeds, and what counts as winning.

    The second best is promoted only within `thin_margin` (relative perplexity) of the best. A winner is at least
    `win_margin` better than the baseline, with latency and memory no more than `tolerance` above the baseline's, and
    not by seed noise alone; variants that surely differ by less than `equivalence_margin` count as equal.
    """

    count: Annotated[int, Field(ge=1)] = 2
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2)
    eval_interval_tokens: PositiveInt = 1_000_000
    thin_margin: NonNegativeFloat = 0.02
    win_margin: NonNegativeFloat = 0.05
    tolerance: NonNegativeFloat = 0.05
    equivalence_margin: PositiveFloat = 0.005

    @field_validator("seeds")
    @classmethod
    def _distinct_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        return _distinct(seeds)


class SmallBenchConfig(Section):
    """Zero-shot probes: how many validation examples of each task, drawn with `seed`, and where they come from.

    `source`: `hub` (GLUE and SuperGLUE), `synthetic` (probes of the built-in world), the path of a folder with
    sst2.jsonl, rte.jsonl, boolq.jsonl and mrpc.jsonl, or `auto`: synthetic for the synthetic corpus, hub else.
    """

    source: Annotated[str, Field(min_length=1)] = "auto"
    examples: Annotated[int, Field(ge=100, le=500)] = 500
    seed: Seed = 0


class EvaluationConfig(Section):
    metrics: tuple[Literal["perplexity", "smallbench_accuracy"], ...] = ("perplexity",)
    smallbench: SmallBenchConfig = SmallBenchConfig()
    latency_runs: Annotated[int, Field(ge=0)] = 100


class SanityConfig(Section):
    """What is tried before anything is ranked: memorizing a little text, and a learning-rate range test.

    `variants`: which ones are tried. A variant with `learning_rate: auto` always gets its range test.
    """

    enabled: bool = True
    variants: Literal["baseline", "all"] = "baseline"


class TelemetryConfig(Section):
    """`tensorboard` writes event files beside each trial; W&B is used when WANDB_API_KEY is set."""

    tensorboard: bool = True
    wandb_project: Annotated[str, Field(min_length=1)] = "paramalloc"


class ResourcesConfig(Section):
    """What one trial holds. Fractions share a core or a GPU; `auto` finds how many trials a GPU bears, if any.

    `silence_seconds`: one that has reported nothing for so long, and for ten times its own pace, is started again.
    """

    cpus_per_trial: PositiveFloat = 1.0
    gpus_per_trial: NonNegativeFloat | Literal["auto"] = "auto"
    silence_seconds: PositiveFloat = 60.0


class CostConfig(Section):
    """What may be spent, and what an hour of a machine costs.

    `prices`: `auto` asks EC2 about machines that are EC2's, and nobody about others, which cost `fixed_usd_per_hour`;
    with `fixed` every machine costs that, and nobody is asked. `tokens_per_second`: what one machine trains with all
    its trials, evaluations included; for the estimate of `--plan`, which else takes it from earlier results.
    """

    budget_usd: PositiveFloat = 50.0
    prices: Literal["auto", "fixed"] = "auto"
    fixed_usd_per_hour: NonNegativeFloat = 0.0
    tokens_per_second: PositiveFloat | None = None
