"""What a sweep varies: the one knob its variants differ in, as the axis of a figure.

Always holds: a pure function of resolved variants and plan.json; share and expansion are those that the solver
achieved, not those asked for; with several knobs, or one that is no number, variants stand side by side by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paramalloc.config import Variant
from paramalloc.report.load import Json

# How a run is carried out on a machine, not what is trained.
_NOT_SWEPT = frozenset({"compile", "micro_batch_size", "checkpoint_seconds"})
_ACHIEVED = {"embedding_ratio": "embedding_share", "glu_expansion": "glu_expansion"}
_LABELS = {
    "embedding_ratio": "embedding share of all parameters (achieved)",
    "glu_expansion": "SwiGLU expansion d_ff / d_model (achieved)",
    "vocab_size": "vocabulary size (tokens)",
    "total_params": "total parameters",
    "context_length": "context length (tokens)",
    "learning_rate": "peak learning rate",
    "batch_size": "batch size (sequences per step)",
    "tokens": "training budget (tokens)",
}


@dataclass(frozen=True)
class Knob:
    """An axis: `name` as in metrics.json, `values` by variant, or None for an axis of variant names."""

    name: str
    label: str
    values: Mapping[str, float] | None


def swept_knobs(variants: Sequence[Variant], plan: Json) -> list[tuple[Knob, list[str]]]:
    """The axes worth a figure, each with the names of the variants along it; the baseline first, where it is there.

    One knob swept: that one, with all variants. Several: share and expansion each with the largest group of variants
    that differ in nothing else, and all variants side by side.
    """
    names = [variant.name for variant in variants]
    knobs = differing_knobs(variants)
    if len(knobs) == 1:
        return [(swept_knob(variants, plan), names)]
    found = []
    for name in _ACHIEVED:
        group = _largest_group(variants, name) if name in knobs else []
        if len(group) > 1:
            found.append((_achieved(name, plan, group), group))
    return [*found, (swept_knob(variants, plan), names)]


def swept_knob(variants: Sequence[Variant], plan: Json) -> Knob:
    """The axis along which these variants differ. `plan` is plan.json's content."""
    knobs = differing_knobs(variants)
    if len(knobs) != 1:
        differ = f" (differing in {', '.join(knobs)})" if knobs else ""
        return Knob("variant", f"variant{differ}", None)
    (name,) = knobs
    label = _LABELS.get(name, name)
    values = {variant.name: _flat(variant)[name] for variant in variants}
    if name in _ACHIEVED:
        return _achieved(name, plan, list(values))
    if not all(_is_number(value) for value in values.values()):
        return Knob(name, f"variant (differing in {name})", None)
    return Knob(name, label, values)


def differing_knobs(variants: Sequence[Variant]) -> list[str]:
    """Names of the model and training knobs that are not the same for every variant, in the schema's order."""
    flat = [_flat(variant) for variant in variants]
    return [name for name in flat[0] if any(knobs[name] != flat[0][name] for knobs in flat)]


def _largest_group(variants: Sequence[Variant], knob: str) -> list[str]:
    """Variants that differ in this knob alone: the largest group, the baseline's where it is as large."""
    groups: dict[str, list[str]] = {}
    for variant in variants:
        others = {name: value for name, value in _flat(variant).items() if name != knob}
        groups.setdefault(repr(others), []).append(variant.name)
    return max(groups.values(), key=len)


def _achieved(name: str, plan: Json, variants: Sequence[str]) -> Knob:
    field = _ACHIEVED[name]
    wanted = set(variants)
    values = {item["name"]: float(item[field]) for item in plan["variants"] if item["name"] in wanted}
    return Knob(field, _LABELS[name], values)


def _flat(variant: Variant) -> dict[str, Any]:
    knobs = variant.model.model_dump() | variant.training.model_dump()
    return {name: value for name, value in knobs.items() if name not in _NOT_SWEPT}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
