"""SmallBench's probes from the Hugging Face hub or a local folder of JSON lines, and a seeded draw from them.

Always holds: both sources go through the same templates; a probe's id is its task and its row's number (from 0) in
its source; which probes a seed draws depends on their ids alone, so it is the same on every machine, and one that is
left out beforehand changes nothing but itself being replaced.

    tasks = [draw(task, 500, seed=0) for task in load_tasks("hub")]
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from paramalloc.data.hub_probes import hub_rows
from paramalloc.data.probes import ProbeTask
from paramalloc.errors import UserError
from paramalloc.evaluation.smallbench.templates import TEMPLATES

HUB = "hub"
_SOURCE = "evaluation.smallbench.source"
_FILES = ", ".join(f"{name}.jsonl" for name in TEMPLATES)
_LAYOUT = f"a folder of probes holds {_FILES}, one JSON object in each line"
PlacedRow = tuple[str, Mapping[str, Any]]  # where it stands, for messages, and its fields


def load_tasks(source: str) -> tuple[ProbeTask, ...]:
    """All probes of sst2, rte, boolq and mrpc, in the order of their source.

    Args:
        source: `hub`, or the path of a folder with `sst2.jsonl`, `rte.jsonl`, `boolq.jsonl` and `mrpc.jsonl`.

    Errors: UserError for what is missing, unreachable or malformed, with the line or row where it stands.
    """
    rows = hub_rows if source == HUB else partial(_file_rows, Path(source).expanduser())
    return tuple(_task(name, rows(name)) for name in TEMPLATES)


def draw(task: ProbeTask, examples: int, seed: int) -> ProbeTask:
    """`examples` of the task's probes without replacement (all, if there are no more), in their old order.

    They are those whose ids, or names of pairs, have the smallest keyed hashes: each set is equally likely, a smaller
    draw is part of a larger one, and no random generator's version matters. Where the last pair has no room, it is
    left out.
    """

    def key(unit: str) -> bytes:
        return hashlib.blake2b(unit.encode(), key=str(seed).encode()).digest()

    sizes = Counter(probe.unit for probe in task.probes)
    order = sorted(sizes, key=key)
    totals = accumulate(sizes[unit] for unit in order)
    drawn = {unit for unit, total in zip(order, totals, strict=True) if total <= examples}
    return ProbeTask(task.name, tuple(probe for probe in task.probes if probe.unit in drawn))


def _task(name: str, rows: Iterable[PlacedRow]) -> ProbeTask:
    template = TEMPLATES[name]
    return ProbeTask(name, tuple(template.probe(f"{name}-{i}", row, place) for i, (place, row) in enumerate(rows)))


def _file_rows(folder: Path, task: str) -> Iterator[PlacedRow]:
    path = folder / f"{task}.jsonl"
    empty = True
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            empty = False
            yield _row(f"{path}:{number}", line)
    if empty:
        raise UserError(str(path), "no rows", _LAYOUT)


def _row(place: str, line: str) -> PlacedRow:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise UserError(place, f"a line that is no JSON ({error})", _LAYOUT) from error
    if not isinstance(row, dict):
        raise UserError(place, f"a JSON {type(row).__name__}", _LAYOUT)
    return place, row


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as stream:
            yield from stream
    except FileNotFoundError as error:
        raise UserError(_SOURCE, f"'{path.parent}' without a {path.name}", _LAYOUT) from error
    except OSError as error:
        raise UserError(_SOURCE, f"'{path}', which cannot be read ({error})", "allow reading it") from error
    except UnicodeDecodeError as error:
        raise UserError(str(path), f"bytes that are not UTF-8 ({error})", "convert it to UTF-8") from error
