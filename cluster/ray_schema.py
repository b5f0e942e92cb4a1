"""What Ray itself says about a cluster file: its JSON schema, and the preparation that `ray up` would do.

Always holds: offline, nothing is started or written; every refusal of Ray's becomes a `Problem` with its place.
Private to Ray, so used here alone: `prepare_config`, `validate_config` and `ray-schema.json` (Ray 2.60).
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from cluster.problems import Problem


def check_with_ray(config: dict[str, Any]) -> list[Problem]:
    """All that the schema says against `config`; if nothing, what the preparation says."""
    return list(_schema_problems(config)) or list(_preparation_problems(config))


def _schema_problems(config: dict[str, Any]) -> Iterator[Problem]:
    import jsonschema  # type: ignore[import-untyped]
    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    for error in jsonschema.Draft7Validator(schema).iter_errors(config):
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        allowed = error.schema.get("properties") if isinstance(error.schema, dict) else None
        mend = (
            f"allowed: {', '.join(allowed)}" if allowed and error.validator == "additionalProperties" else "mend it"
        )
        yield Problem(place.lstrip(".") or "file", error.message, mend)


def _preparation_problems(config: dict[str, Any]) -> Iterator[Problem]:
    import click
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    logging.getLogger("ray.autoscaler").setLevel(logging.WARNING)
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            validate_config(prepare_config(config))
    except jsonschema.ValidationError as error:
        yield Problem("file", error.message, "mend it")
    except (click.ClickException, ValueError, KeyError, TypeError, AssertionError, RuntimeError) as error:
        lines = said.getvalue().strip().splitlines()
        yield Problem("file", str(error).strip() or (lines[-1] if lines else type(error).__name__), "mend it")
