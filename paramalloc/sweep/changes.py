"""A sweep file that was changed between two runs: what can be taken over, and what would spoil the results.

Always holds: a pure comparison of two sweep files; whatever would change a number that is already on disk is refused;
what only changes how numbers are compared, or asks for more of them, reopens the decisions that rest on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paramalloc.config import SweepConfig

# Where something runs and what is written about it: no number depends on these.
_WITHOUT_EFFECT = (
    "cost.", "telemetry.", "resources.", "sanity.", "data.cache_dir", "data.licence", "evaluation.latency_runs"
)  # fmt: skip
# How many are compared and by what measure: trials stay as they are, promotion and winner are decided again.
_DECIDES_AGAIN = tuple(f"finalists.{name}" for name in ("count", "seeds", "thin_margin", "win_margin", "tolerance"))
Flat = dict[str, Any]


@dataclass(frozen=True)
class Changes:
    """Dotted paths with `before -> now`. `refused` ones leave no choice but to undo them or to begin anew."""

    refused: tuple[str, ...]
    taken_over: tuple[str, ...]
    reopens: bool


def compare(before: SweepConfig, now: SweepConfig) -> Changes:
    """What differs between the sweep file that results were made with and the present one."""
    kept = [experiment.name for experiment in before.experiments]
    added = [experiment.name for experiment in now.experiments if experiment.name not in kept]
    old, new = _flat(before), _flat(now)
    for name in added:
        del new[f"experiments.{name}"]
    differing = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    text = {key: f"{key}: {old.get(key, 'unset')} -> {new.get(key, 'unset')}" for key in differing}
    decide_again = [key for key in differing if key.startswith(_DECIDES_AGAIN)]
    harmless = [key for key in differing if key.startswith(_WITHOUT_EFFECT)] + decide_again
    return Changes(
        refused=tuple(text[key] for key in differing if key not in harmless),
        taken_over=(*(text[key] for key in harmless), *(f"experiments: {name} is new" for name in added)),
        reopens=bool(decide_again or added),
    )


def _flat(config: SweepConfig) -> Flat:
    """Every value by its dotted path; an experiment is one value, by its name: what it overrides."""
    tree = config.model_dump(mode="json", exclude={"experiments", "baseline"})
    flat: Flat = {f"experiments.{item.name}": item.overrides for item in config.experiments}
    flat["baseline"] = config.baseline_name

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            flat[prefix] = value

    walk("", tree)
    return flat
