"""Compares two results folders number by number: `python compare_numbers.py BUNDLE RERUN`; exit code 0 when equal.

Left out are the fields that measure the machine or the day (bundle.json lists them) and the versions of the software.
It needs nothing but Python.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SHOWN = 20


def flat(value: Any, left_out: set[str], place: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in left_out:
                yield from flat(inner, left_out, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from flat(inner, left_out, f"{place}[{index}]")
    else:
        yield place, value


def numbers(folder: Path, trial: str, left_out: set[str]) -> dict[str, Any]:
    metrics = json.loads((folder / trial / "metrics.json").read_text())
    history = folder / trial / "history.jsonl"
    rows = [json.loads(line) for line in history.read_text().splitlines()] if history.exists() else []
    return dict(flat({"metrics": metrics, "history": rows}, left_out))


def main(bundle: Path, rerun: Path) -> int:
    facts = json.loads((bundle / "bundle.json").read_text())
    left_out = {*facts["measured_fields"], *facts["version_fields"]}
    differences: list[str] = []
    values = 0
    for trial in facts["trials"]:
        if not (rerun / trial / "metrics.json").exists():
            differences.append(f"{trial}: missing in the rerun")
            continue
        before, after = numbers(bundle, trial, left_out), numbers(rerun, trial, left_out)
        values += len(before)
        differing = [place for place in before.keys() | after.keys() if before.get(place) != after.get(place)]
        differences += [f"{trial}: {p}: {before.get(p)} -> {after.get(p)}" for p in sorted(differing)]
    for line in differences[:SHOWN]:
        print(line)  # noqa: T201
    if len(differences) > SHOWN:
        print(f"... and {len(differences) - SHOWN} more")  # noqa: T201
    verdict = f"{len(differences)} differences" if differences else "identical"
    print(f"{verdict}: {values} values of {len(facts['trials'])} trials compared")  # noqa: T201
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
