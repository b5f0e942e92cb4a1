"""Result files in, plain tables out: everything that a report is made from, read once.

Always holds: only files that the sweep wrote are read; a trial without metrics.json is there as `unfinished`, with
the history it has; trials come in the order stage, variant (the baseline first), seed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cost import CostError
from cost.ledger import parse
from cost.summary import SCHEMA_VERSION as COST_SCHEMA_VERSION
from cost.timeline import Attempt, attempts
from paramalloc.config import SweepConfig, Variant
from paramalloc.errors import UserError
from paramalloc.files import read_json, read_jsonl
from paramalloc.proposals import proposals_in, with_proposals
from paramalloc.results import AUDIT, FINALISTS, NOISE, SCHEMA_VERSION, ResultsFolder, TrialFolder
from paramalloc.sweep.runbook.decisions import in_force, stage_winners
from paramalloc.sweep_file import load_sweep

UNFINISHED = "unfinished"
Json = dict[str, Any]
CHECK_FIELDS = {  # what is read of a sanity check, by its kind
    "overfit": {"passed", "message", "target_loss", "evidence"},
    "lr_find": {
        "passed", "message", "suggestion", "unstable_above", "configured", "learning_rates", "losses", "smoothed",
    },
}  # fmt: skip
_ANEW = "restore the file, or run the sweep afresh"


@dataclass(frozen=True)
class Trial:
    """One training run as its files tell it. `metrics` is empty while it is unfinished."""

    stage: str
    name: str
    variant: str
    status: str
    metrics: Json
    history: tuple[Json, ...]

    @property
    def tokens(self) -> int:
        """Tokens trained when it ended, or at its newest evaluation; 0 before the first."""
        return int(self.metrics["tokens"] if self.metrics else self.history[-1]["tokens"] if self.history else 0)

    @property
    def last_evaluation(self) -> Json | None:
        """The newest scores on the fixed slice of dev; they do not compare with those on all of dev."""
        return self.history[-1] if self.history else None


@dataclass(frozen=True)
class SweepResults:
    """A results folder in memory.

    config: with what a search has proposed among its experiments.
    events: the diary, and what the bill rests on.
    attempts: which trial held a node when.
    checks: outcomes of the sanity stage by kind, `overfit` and `lr_find`, and by variant.
    manifest, cost: None before they were written.
    """

    config: SweepConfig
    plan: Json
    trials: tuple[Trial, ...]
    decisions: tuple[Json, ...]
    events: tuple[Json, ...]
    attempts: tuple[Attempt, ...]
    checks: dict[str, dict[str, Json]]
    manifest: Json | None
    cost: Json | None

    @cached_property
    def stages(self) -> dict[str, tuple[Variant, ...]]:
        """The variants of each ranking stage on the winners so far, its baseline first; only those with a shape."""
        shaped = {item["name"] for item in self.plan["variants"]}
        winners = {stage: row["variant"] for stage, row in stage_winners(self.decisions).items()}
        resolved = self.config.resolve(winners)
        return {stage: tuple(v for v in variants if v.name in shaped) for stage, variants in resolved.items()}

    @property
    def variants(self) -> tuple[Variant, ...]:
        return tuple(variant for variants in self.stages.values() for variant in variants)

    @cached_property
    def bill_of_trial(self) -> dict[tuple[str, str], Json]:
        """The lines of COST_SUMMARY.json by stage and trial; none before there is one."""
        return _by_trial(self.cost["by_trial"]) if self.cost else {}

    @cached_property
    def saved_by_kill(self) -> dict[tuple[str, str], Json]:
        """What stopping each trial has saved, by stage and trial."""
        return _by_trial(self.cost["savings"]["kill_rule_against_running_on"]["by_trial"]) if self.cost else {}

    @property
    def is_runbook(self) -> bool:
        return len(self.config.stage_names) > 1

    def decided(self, kind: str) -> Json | None:
        """The decision of one kind, `promote` or `winner`, that holds."""
        return in_force(self.decisions, kind)


def _by_trial(lines: Sequence[Json]) -> dict[tuple[str, str], Json]:
    return {(line["stage"], line["trial"]): line for line in lines}


def load_results(folder: ResultsFolder) -> SweepResults:
    """Read a results folder.

    Errors: UserError when it is none, or when a file is damaged or of another version.
    """
    for needed in (folder.sweep, folder.plan):
        if not needed.exists():
            got = f"no {needed.name} in it" if folder.root.is_dir() else "no such folder"
            raise UserError(str(folder.root), got, "give the results folder of a sweep, such as results/smoke")
    decisions = tuple(read_jsonl(folder.decisions))
    config = with_proposals(load_sweep(folder.sweep), proposals_in(decisions))
    events = tuple(read_jsonl(folder.events))
    tries = _attempts(events, folder)
    started = {(attempt.stage, attempt.trial): attempt.variant for attempt in tries}
    order = {variant.name: rank for rank, variant in enumerate(config.variants)}
    trials = (
        trial
        for stage in (NOISE, *config.stage_names, AUDIT, FINALISTS)
        for trial in sorted(
            _stage_trials(folder, stage, started),
            key=lambda trial: (order.get(trial.variant, len(order)), _seed(trial), trial.name),
        )
    )
    return SweepResults(
        config=config,
        plan=_read(folder.plan),
        trials=tuple(trials),
        decisions=decisions,
        events=events,
        attempts=tries,
        checks=load_checks(folder, [variant.name for variant in config.variants]),
        manifest=_read(folder.manifest) if folder.manifest.exists() else None,
        cost=_of_version(folder.cost_summary, COST_SCHEMA_VERSION) if folder.cost_summary.exists() else None,
    )


def load_checks(folder: ResultsFolder, variants: Sequence[str]) -> dict[str, dict[str, Json]]:
    """What the sanity checks of these variants found, by kind and variant. Errors: UserError for a damaged file."""
    files = {
        "overfit": {name: folder.overfit(name) for name in variants},
        "lr_find": {name: folder.lr_find(name) for name in variants},
    }
    return {
        kind: {name: _read_check(kind, file) for name, file in by_variant.items() if file.exists()}
        for kind, by_variant in files.items()
    }


def _read_check(kind: str, file: Path) -> Json:
    advice = "delete it; the sweep, or a command of that name, tries it out again"
    check = _read(file, advice)
    lacking = CHECK_FIELDS[kind] - check.keys()
    if lacking:
        raise UserError(str(file), f"no {', '.join(sorted(lacking))} in it", advice)
    return check


def _stage_trials(folder: ResultsFolder, stage: str, started: dict[tuple[str, str], str]) -> Iterator[Trial]:
    """The stage's trials that have ended, or of which events.jsonl says what they are."""
    for files in folder.trials(stage):
        metrics = _read_metrics(files)
        variant = metrics["variant"] if metrics else started.get((stage, files.name))
        if variant is not None:
            status = metrics["status"] if metrics else UNFINISHED
            yield Trial(stage, files.name, variant, status, metrics, tuple(read_jsonl(files.history)))


def _attempts(events: Sequence[Json], folder: ResultsFolder) -> tuple[Attempt, ...]:
    try:
        return attempts(parse(events))
    except CostError as error:
        raise UserError(str(folder.events), f"a row that cannot be right ({error})", "restore the file") from error


def _read_metrics(files: TrialFolder) -> Json:
    if not files.metrics.exists():
        return {}
    return _of_version(files.metrics, SCHEMA_VERSION)


def _seed(trial: Trial) -> float:
    return float(trial.metrics["seed"]) if trial.metrics else math.inf


def _of_version(path: Path, wanted: int) -> Json:
    document = _read(path)
    version = document.get("schema_version")
    if version != wanted:
        allowed = f"this program reads {wanted}; use the one that made these results"
        raise UserError(str(path), f"schema_version {version}", allowed)
    return document


def _read(path: Path, advice: str = _ANEW) -> Json:
    try:
        value = read_json(path)
    except ValueError as error:
        raise UserError(str(path), f"no valid JSON ({error})", advice) from error
    if not isinstance(value, dict):
        raise UserError(str(path), f"a {type(value).__name__}", advice)
    return value
