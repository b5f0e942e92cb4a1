"""Reading a sweep file: YAML in, a checked `SweepConfig` out, and every mistake named by its dotted path.

Always holds: only this module parses YAML; numbers may be written `10_000_000` or `3e-4`; a key that stands twice
is an error, not a silent last word. `load_sweep(Path("sweeps/smoke.yaml"), ["training.tokens=1e6"])`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from paramalloc.config import STAGE_PATTERN, Experiment, PlacedError, SweepConfig
from paramalloc.errors import UserError
from paramalloc.sections import NAME_PATTERN

_NAMES = {
    NAME_PATTERN: "allowed: letters, digits, '.', '_' and '-', at most 64, beginning with a letter or digit",
    STAGE_PATTERN: "allowed: small letters, digits, '_' and '-', at most 32, beginning with a letter",
}
# By pydantic's type of error; its own words are those of Python, not of YAML.
_SHAPES = {"tuple_type": "give a list", "model_type": "give a mapping", "dict_type": "give a mapping"}


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, with `3e-4` a number and a repeated key an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key that is no word", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key.value}' stands there twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def load_sweep(path: Path, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read and check one sweep file; `overrides` are `a.b=c` strings, a stage or an experiment addressed by its name.

    Errors: UserError for a missing or unreadable file, YAML that does not parse, and every schema mistake.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            str(path), f"a sweep file that cannot be read ({error})", "give the path of a YAML file"
        ) from error
    raw = _parse_yaml(text, str(path))
    if not isinstance(raw, dict):
        got = "nothing" if raw is None else _show(raw)
        raise UserError(str(path), got, "allowed: a mapping with at least `experiments` or `stages`")
    for override in overrides:
        _apply_override(raw, override)
    raw.setdefault("name", path.stem)
    return check_sweep(raw)


def check_sweep(raw: dict[str, Any]) -> SweepConfig:
    """Turn plain data into a SweepConfig. Errors: UserError that lists every mistake, one line each."""
    try:
        return SweepConfig.model_validate(raw)
    except ValidationError as error:
        problems = _mistakes(error)
        place, got, allowed = problems[0]
        more = "".join(f"\n{p}: got {g}; {a}" for p, g, a in problems[1:])
        raise UserError(place, got, allowed + more) from error


def dump_sweep(config: SweepConfig) -> str:
    """The resolved configuration as YAML, every default written out; loading it gives the same sweep."""
    raw = config.model_dump(mode="json")
    if config.stages is None:
        del raw["stages"]
        raw["baseline"] = config.baseline_name
        raw["experiments"] = _dump_experiments(config.experiments or ())
    else:
        del raw["experiments"], raw["baseline"]
        for stage, written in zip(config.stages, raw["stages"], strict=True):
            written["experiments"] = _dump_experiments(stage.experiments)
    return yaml.safe_dump(raw, sort_keys=False, allow_unicode=True)


def _dump_experiments(experiments: Iterable[Experiment]) -> list[dict[str, Any]]:
    return [
        {"name": item.name, **({} if item.enabled else {"enabled": False}), **item.overrides} for item in experiments
    ]


def dump_settings(settings: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(settings), sort_keys=False, allow_unicode=True)


def _parse_yaml(text: str, place: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{place}:{mark.line + 1}" if mark else place
        problem = getattr(error, "problem", None) or str(error)
        raise UserError(where, f"text that is no valid YAML ({problem})", "mend that line") from error


def _apply_override(raw: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise UserError(f"--set {override}", "no `path=value`", "write it like --set training.tokens=1_000_000")
    value = _parse_yaml(text, f"--set {path}")
    node: Any = raw
    for key in keys[:-1]:
        node = _descend(node, key, path)
    if not isinstance(node, dict):
        raise UserError(f"--set {path}", f"a path through {_show(node)}", "only mappings have keys to set")
    node[keys[-1]] = value


def _descend(node: Any, key: str, path: str) -> Any:
    if isinstance(node, list):
        named = {str(item.get("name")): item for item in node if isinstance(item, dict)}
        if key not in named:
            raise UserError(f"--set {path}", f"no '{key}'", f"allowed: {', '.join(named)}")
        return named[key]
    if not isinstance(node, dict):
        raise UserError(f"--set {path}", f"a path through {_show(node)}", "only mappings have keys to set")
    if node.get(key) is None:
        node[key] = {}
    return node[key]


def _mistakes(error: ValidationError) -> list[tuple[str, str, str]]:
    """One (place, got, allowed) for each mistake; where a union reports once per member, the members are joined."""
    grouped: dict[str, tuple[str, list[str]]] = {}
    for item in error.errors():
        place, section = _place(item["loc"])
        got, allowed = _show(item["input"]), item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            got, allowed = "an unknown key", _allowed_keys(str(item["loc"][-1]), section)
        elif item["type"] == "missing":
            got, allowed = "nothing", "this key is required"
        elif item["type"] in _SHAPES:
            allowed = _SHAPES[item["type"]]
        elif item["type"] == "too_short":
            allowed = f"give at least {item['ctx']['min_length']}"
        elif item["type"] == "string_pattern_mismatch":
            allowed = _NAMES[item["ctx"]["pattern"]]
        elif isinstance(item.get("ctx", {}).get("error"), PlacedError):
            place, got, allowed = item["ctx"]["error"].args
        else:
            allowed = allowed[0].lower() + allowed[1:]
        grouped.setdefault(place, (got, []))[1].append(allowed)
    return [(place, got, " or ".join(dict.fromkeys(allowed))) for place, (got, allowed) in grouped.items()]


def _place(location: tuple[int | str, ...]) -> tuple[str, type[BaseModel]]:
    """The dotted path as a person would write it, and the section whose keys the last part belongs to."""
    path = ""
    section: type[BaseModel] = SweepConfig
    inner: type[BaseModel] | None = SweepConfig
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif inner is not None:
            section, field = inner, inner.model_fields.get(part)
            path += f".{part}" if path else part
            inner = _section_in(field.annotation) if field else None
    return path, section  # what follows a leaf is pydantic's name for a member of a union


def _section_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation if issubclass(annotation, BaseModel) else None
    return next((found for part in get_args(annotation) if (found := _section_in(part))), None)


def _allowed_keys(key: str, model: type[BaseModel]) -> str:
    names = list(model.model_fields)
    close = difflib.get_close_matches(key, names, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}allowed: {', '.join(names)}"


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
