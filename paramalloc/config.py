"""The sweep file as typed, frozen models: its stages and experiments, and what each experiment resolves to.

Always holds: an unknown key, a wrong type or a value out of range is refused before anything starts, with its
dotted path; a plain sweep is a runbook with one stage, `ranking`; `paramalloc.sections` has the sections and their
defaults. Read one with `paramalloc.sweep_file.load_sweep(path)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, model_validator

from paramalloc.results import RANKING, RESERVED
from paramalloc.sections import (
    EXTRA_CONTENDERS,
    CostConfig,
    DataConfig,
    EvaluationConfig,
    FinalistsConfig,
    KillRuleConfig,
    ModelConfig,
    Name,
    PlacedError,
    Precision,
    RankingConfig,
    ResourcesConfig,
    SanityConfig,
    SearchConfig,
    Section,
    SmallBenchConfig,
    TelemetryConfig,
    TrainingConfig,
)

__all__ = [
    "CostConfig",
    "DataConfig",
    "EvaluationConfig",
    "Experiment",
    "FinalistsConfig",
    "KillRuleConfig",
    "ModelConfig",
    "Name",
    "PlacedError",
    "Precision",
    "RankingConfig",
    "ResourcesConfig",
    "SanityConfig",
    "SearchConfig",
    "Section",
    "SmallBenchConfig",
    "StageConfig",
    "SweepConfig",
    "TelemetryConfig",
    "TrainingConfig",
    "Variant",
]

STAGE_PATTERN = r"^[a-z][a-z0-9_-]{0,31}$"  # it names a folder among the files of a results folder
_PROPOSED_NAME = re.compile(r"p\d+", re.IGNORECASE)
StageName = Annotated[str, Field(pattern=STAGE_PATTERN)]


class Experiment(ModelConfig, TrainingConfig):
    """One variant: a name, and those model and training knobs that it overrides (the others count as unset).

    `enabled: false` keeps it in the file and out of the sweep.
    """

    name: Name
    enabled: bool = True

    @property
    def overrides(self) -> dict[str, Any]:
        return self.model_dump(exclude_unset=True, exclude={"name", "enabled"})


Experiments = Annotated[tuple[Experiment, ...], Field(min_length=1)]


class Variant(Section):
    """An experiment with its overrides applied: everything that one trial of it needs to be told."""

    name: Name
    model: ModelConfig
    training: TrainingConfig

    def is_as(self, other: Variant) -> bool:
        """Whether both come to the same model, trained in the same way."""
        return (self.model, self.training) == (other.model, other.training)


class StageConfig(Section):
    """One ranking of a runbook: its variants override what the winner of stage `builds_on` has, else the file's.

    `baseline`: as that of a sweep; left out, the experiment that changes nothing of what it is built on.
    """

    name: StageName
    builds_on: StageName | None = None
    experiments: Experiments
    baseline: str | None = None

    @property
    def enabled(self) -> tuple[Experiment, ...]:
        return tuple(experiment for experiment in self.experiments if experiment.enabled)

    def variants(self, model: ModelConfig, training: TrainingConfig) -> tuple[Variant, ...]:
        """The experiments resolved, the baseline first, the others in the order of the file."""
        resolved = [_override(experiment, model, training) for experiment in self.enabled]
        baseline = self._baseline(resolved, model, training)
        return tuple(sorted(resolved, key=lambda variant: variant.name != baseline))

    def _baseline(self, resolved: list[Variant], model: ModelConfig, training: TrainingConfig) -> str:
        """The named one; else what is built on, or the default allocation (0.35, 2.66); else the first."""
        if self.baseline is not None:
            return self.baseline
        built_on = Variant(name="built-on", model=model, training=training)
        unchanged = [v for v in resolved if (v.is_as(built_on) if self.builds_on else _allocation(v) == _DEFAULT)]
        return (unchanged or resolved)[0].name


_DEFAULT = (ModelConfig().embedding_ratio, ModelConfig().glu_expansion)


def _allocation(variant: Variant) -> tuple[float, float]:
    return variant.model.embedding_ratio, variant.model.glu_expansion


def _override(experiment: Experiment, model: ModelConfig, training: TrainingConfig) -> Variant:
    def merged(section: Section) -> dict[str, Any]:
        own = {key: value for key, value in experiment.overrides.items() if key in type(section).model_fields}
        return section.model_dump() | own

    return Variant(
        name=experiment.name, model=ModelConfig(**merged(model)), training=TrainingConfig(**merged(training))
    )


class SweepConfig(Section):
    """The whole sweep file: `experiments` to be ranked, or `stages` of them (a runbook).

    `baseline` names one experiment; left out, it is found as DESIGN's default. `search`: more than the experiments
    are ranked, as Optuna proposes.
    """

    name: Name
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    experiments: Experiments | None = None
    baseline: str | None = None
    stages: Annotated[tuple[StageConfig, ...], Field(min_length=1)] | None = None
    search: SearchConfig | None = None
    training: TrainingConfig = TrainingConfig()
    ranking: RankingConfig = RankingConfig()
    finalists: FinalistsConfig = FinalistsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    sanity: SanityConfig = SanityConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    resources: ResourcesConfig = ResourcesConfig()
    cost: CostConfig = CostConfig()

    @property
    def most_promoted(self) -> int:
        """Challengers that the last ranking may send to the final: a known noise admits some more."""
        return self.finalists.count + (EXTRA_CONTENDERS if self.ranking.noise_seeds else 0)

    @model_validator(mode="after")
    def _stages_or_experiments(self) -> SweepConfig:
        if self.stages is None and self.experiments is None:
            raise PlacedError("experiments", "nothing", "this key is required (or `stages`, for a runbook)")
        if self.stages is not None and self.experiments is not None:
            raise PlacedError("experiments", "experiments beside `stages`", "give one of the two")
        if self.stages is not None and self.baseline is not None:
            raise PlacedError("baseline", f"'{self.baseline}'", "every stage has a baseline of its own")
        self._check_stages()
        return self

    def _check_stages(self) -> None:
        """Errors: PlacedError for names that stand twice or are nobody's."""
        experiments: set[str] = set()
        stages: list[str] = []
        for place, stage in self.places.items():
            if stage.name in RESERVED or stage.name in stages:
                taken = "that name is taken by a folder of results" if stage.name in RESERVED else "a second time"
                raise PlacedError(f"{place}name", f"'{stage.name}'", f"{taken}; every stage needs a name of its own")
            if stage.builds_on is not None and stage.builds_on not in stages:
                allowed = f"allowed, as a stage before it: {', '.join(stages) or 'none'}"
                raise PlacedError(f"{place}builds_on", f"'{stage.builds_on}'", allowed)
            stages.append(stage.name)
            for index, experiment in enumerate(stage.experiments):
                if experiment.name.lower() in experiments:
                    allowed = "every experiment needs a name of its own (case does not count)"
                    where = f"{place}experiments[{index}].name"
                    raise PlacedError(where, f"'{experiment.name}' a second time", allowed)
                experiments.add(experiment.name.lower())
            names = [experiment.name for experiment in stage.enabled]
            if not names:
                raise PlacedError(f"{place}experiments", "none that is enabled", "enable one at least")
            if stage.baseline is not None and stage.baseline not in names:
                raise PlacedError(f"{place}baseline", f"'{stage.baseline}'", f"allowed: {', '.join(names)}")

    @model_validator(mode="after")
    def _rates_can_be_found(self) -> SweepConfig:
        if not self.sanity.enabled:
            for variant in self.variants:
                if variant.training.learning_rate == "auto":
                    allowed = f"{variant.name} has `learning_rate: auto`, which that stage finds: true, or a number"
                    raise PlacedError("sanity.enabled", "false", allowed)
        return self

    @model_validator(mode="after")
    def _search_can_be_made(self) -> SweepConfig:
        """Errors: PlacedError for what a search for two aims at once cannot do with."""
        if self.search is None:
            return self
        if self.experiments is None:
            raise PlacedError("search", "a search beside `stages`", "give `experiments`, the baseline among them")
        for index, experiment in enumerate(self.experiments):
            if _PROPOSED_NAME.fullmatch(experiment.name):
                where, allowed = f"experiments[{index}].name", "p01, p02 … are the names of what `search` proposes"
                raise PlacedError(where, f"'{experiment.name}'", allowed)
        if self.ranking.stop != "none":
            allowed = "none, beside `search`: who is behind in bits per byte may be ahead in latency"
            raise PlacedError("ranking.stop", f"'{self.ranking.stop}'", allowed)
        if not self.evaluation.latency_runs:
            raise PlacedError("evaluation.latency_runs", "0", "1 or more, since `search` looks for a low latency")
        return self

    def with_experiments(self, more: Iterable[Experiment]) -> SweepConfig:
        """The same with more experiments at the end of a plain sweep, but for those that it has already."""
        assert self.experiments is not None
        known = {experiment.name for experiment in self.experiments}
        grown = (*self.experiments, *(item for item in more if item.name not in known))
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return SweepConfig.model_construct(**fields | {"experiments": grown})  # checked, all of it

    @cached_property
    def places(self) -> dict[str, StageConfig]:
        """The ranking stages in their order, by where they stand in the file; a plain sweep has one, `ranking`."""
        if self.stages is not None:
            return {f"stages[{index}].": stage for index, stage in enumerate(self.stages)}
        assert self.experiments is not None
        return {"": StageConfig(name=RANKING, experiments=self.experiments, baseline=self.baseline)}

    @cached_property
    def stage_names(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.places.values())

    def resolve(self, winners: Mapping[str, str]) -> dict[str, tuple[Variant, ...]]:
        """The variants of every ranking stage, its baseline first.

        `winners`: by stage; where there is none yet, the stage's baseline is taken for it.
        """
        found: dict[str, tuple[Variant, ...]] = {}
        for stage in self.places.values():
            model, training = self.model, self.training
            if stage.builds_on is not None:
                rivals = found[stage.builds_on]
                base = next((v for v in rivals if v.name == winners.get(stage.builds_on)), rivals[0])
                model, training = base.model, base.training
            found[stage.name] = stage.variants(model, training)
        return found

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """Those of all stages as if every baseline won; the baseline of the whole sweep comes first."""
        return tuple(variant for stage in self.resolve({}).values() for variant in stage)

    @cached_property
    def baseline_name(self) -> str:
        """That of the first stage: the named one, else the one with the default allocation, else the first."""
        return self.variants[0].name
