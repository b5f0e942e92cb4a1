"""A value against the shape that botocore knows for an AWS call: unknown keys, wrong types, unknown enum values.

Always holds: offline, nothing is sent and no credential is looked for; every problem has its dotted place.
botocore's own validator finds the same wrong keys and types, but neither says where in full nor checks enums.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from functools import cache
from typing import Any

from cluster.problems import Problem

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
}


@cache
def input_shape(service: str, operation: str) -> Any:
    """The shape of an operation's parameters, such as `input_shape("ec2", "RunInstances")`."""
    import botocore.session

    return botocore.session.get_session().get_service_model(service).operation_model(operation).input_shape


def regions() -> list[str]:
    """The regions that EC2 has in the standard partition."""
    import botocore.session

    return list(botocore.session.get_session().get_available_regions("ec2"))


def check_shape(value: Any, shape: Any, place: str) -> Iterator[Problem]:
    """What is wrong with `value`, as parameters of the call that `shape` describes."""
    if shape.type_name == "structure":
        yield from _check_structure(value, shape, place)
    elif shape.type_name == "list":
        if not isinstance(value, list):
            yield _wrong_type(value, "a list", place)
        else:
            for number, item in enumerate(value):
                yield from check_shape(item, shape.member, f"{place}[{number}]")
    else:
        yield from _check_scalar(value, shape, place)


def _check_structure(value: Any, shape: Any, place: str) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield _wrong_type(value, f"keys ({_short(shape.members)})", place)
        return
    for key, item in value.items():
        if key in shape.members:
            yield from check_shape(item, shape.members[key], f"{place}.{key}")
        else:
            yield Problem(f"{place}.{key}", "AWS knows no such key", _did_you_mean(str(key), list(shape.members)))


def _check_scalar(value: Any, shape: Any, place: str) -> Iterator[Problem]:
    wanted = _TYPES.get(shape.type_name)
    is_wrong_bool = isinstance(value, bool) and shape.type_name != "boolean"
    if wanted and (not isinstance(value, wanted) or is_wrong_bool):
        yield _wrong_type(value, f"a value of type {shape.type_name}", place)
    elif getattr(shape, "enum", None) and value not in shape.enum:
        yield Problem(place, f"{value!r} is no {shape.name}", _did_you_mean(str(value), list(shape.enum)))


def _wrong_type(value: Any, wanted: str, place: str) -> Problem:
    return Problem(place, f"{value!r} ({type(value).__name__})", f"give {wanted}")


def _did_you_mean(got: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(got, allowed, n=1)
    return f"did you mean {close[0]}?" if close else f"allowed: {_short(allowed)}"


def _short(names: Any, most: int = 8) -> str:
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
