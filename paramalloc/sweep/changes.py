"""A sweep file that was changed between two runs: what can be taken over, and what would spoil the results.

Always holds: nothing is written; whatever would change a number that is already on disk is refused;
what only changes how numbers are compared, or asks for more of them, reopens the decisions that rest on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paramalloc.config import StageConfig, SweepConfig
from paramalloc.errors import UserError
from paramalloc.files import read_json
from paramalloc.results import ResultsFolder
from paramalloc.sweep_file import load_sweep

# Where something runs, how often it is saved and what is written about it: no number depends on these, nor on
# `data.on_overlap`, for what `error` lets pass has no overlap that could be dropped.
_WITHOUT_EFFECT = (
    "cost.", "telemetry.", "resources.", "sanity.", "data.cache_dir", "data.licence", "data.on_overlap",
    "evaluation.latency_runs", "training.checkpoint_seconds",
)  # fmt: skip
# How many are compared and by what measure: trials stay as they are, promotion and winner are decided again.
_DECIDES_AGAIN = (
    "finalists.count", "finalists.seeds", "finalists.thin_margin", "finalists.win_margin", "finalists.tolerance",
    "finalists.equivalence_margin", "ranking.noise_seeds", "ranking.audit", "search.trials",
)  # fmt: skip
BEGIN_ANEW = "give --results another folder, or --fresh to set these results aside and begin anew"
Flat = dict[str, Any]


@dataclass(frozen=True)
class Changes:
    """Dotted paths with `before -> now`. `refused` ones leave no choice but to undo them or to begin anew."""

    refused: tuple[str, ...]
    taken_over: tuple[str, ...]
    reopens: bool


def changes_since(folder: ResultsFolder, now: SweepConfig) -> Changes:
    """What has changed since the results in the folder were made, all of it harmless.

    Errors: UserError when settings differ so that what is there would no longer be true.
    """
    if not folder.sweep.exists() or not folder.plan.exists():
        return Changes((), (), reopens=False)
    changes = compare(load_sweep(folder.sweep), now)
    if changes.refused:
        got = f"results of a sweep file that differs ({'; '.join(changes.refused)})"
        raise UserError(str(folder.root), got, f"undo the change, {BEGIN_ANEW}")
    return changes


def require_same_text(config: SweepConfig, folder: ResultsFolder, fingerprint: str, advice: str = BEGIN_ANEW) -> None:
    """Errors: UserError where the results were made with another text than the one with this fingerprint."""
    if folder.plan.exists() and read_json(folder.plan)["corpus_fingerprint"] != fingerprint:
        raise UserError(str(folder.root), f"results of another text than '{config.data.corpus}' now holds", advice)


def compare(before: SweepConfig, now: SweepConfig) -> Changes:
    """What differs between the sweep file that results were made with and the present one.

    A sweep may grow at its end: more experiments in its last stage, more stages after it. What stands before that has
    a winner that others may be built on.
    """
    old, new = _flat(before), _flat(now)
    added = {key: text for key, text in _grown(before, now).items() if key not in old}
    for key in added:
        del new[key]
    differing = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    text = {key: f"{key}: {old.get(key, 'unset')} -> {new.get(key, 'unset')}" for key in differing}
    decide_again = [key for key in differing if key.startswith(_DECIDES_AGAIN)]
    harmless = [key for key in differing if key.startswith(_WITHOUT_EFFECT)] + decide_again
    return Changes(
        refused=tuple(text[key] for key in differing if key not in harmless),
        taken_over=(*(text[key] for key in harmless), *(text for text in added.values() if text)),
        reopens=bool(decide_again or added),
    )


def _grown(before: SweepConfig, now: SweepConfig) -> dict[str, str]:
    """The keys that stages and experiments at the end of the present file may add, and what to say of each."""
    found: dict[str, str] = {}
    last = before.stage_names[-1]
    for place, stage in _stages(now).items():
        if stage.name not in before.stage_names:
            found |= {f"{place}builds_on": "", f"{place}baseline": ""}
            found |= {f"{place}order": f"stages: {stage.name} is new"}
        if stage.name == last or stage.name not in before.stage_names:
            new = "" if stage.name not in before.stage_names else f"{place}experiments: {{}} is new"
            found |= {f"{place}experiments.{item.name}": new.format(item.name) for item in stage.enabled}
    return found


def _stages(config: SweepConfig) -> dict[str, StageConfig]:
    """By the beginning of their keys, which is their name in the file."""
    return {"" if config.stages is None else f"stages.{stage.name}.": stage for stage in config.places.values()}


def _flat(config: SweepConfig) -> Flat:
    """Every value by its dotted path; an experiment is one value, by its name: what it overrides."""
    flat: Flat = {}
    baselines = {name: variants[0].name for name, variants in config.resolve({}).items()}
    for order, (place, stage) in enumerate(_stages(config).items()):
        flat |= {f"{place}experiments.{item.name}": _with_effect(item.overrides) for item in stage.enabled}
        if place:
            flat |= {f"{place}builds_on": stage.builds_on, f"{place}order": order}
        flat[f"{place}baseline"] = baselines[stage.name]

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            flat[prefix] = value

    walk("", config.model_dump(mode="json", exclude={"experiments", "baseline", "stages"}))
    return flat


def _with_effect(overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {knob: value for knob, value in overrides.items() if f"training.{knob}" not in _WITHOUT_EFFECT}
