"""SmallBench's rows from the Hugging Face hub: the validation splits of three GLUE tasks and of SuperGLUE's BoolQ.

Always holds: rows are those of pinned revisions, in their order, each with its place for messages; what happens
without a network is said in `paramalloc.data.pinned`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from paramalloc.data.pinned import Part, PinnedDataset

_PLACE = "evaluation.smallbench.source"
_ADVICE = (
    "give evaluation.smallbench.source the path of a folder with sst2.jsonl, rte.jsonl, boolq.jsonl and mrpc.jsonl "
    "or go without SmallBench (evaluation.metrics=[perplexity])"
)
GLUE = PinnedDataset("nyu-mll/glue", "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c", _PLACE, _ADVICE)
SUPER_GLUE = PinnedDataset("aps/super_glue", "3de24cf8022e94f4ee4b9d55a6f539891524d646", _PLACE, _ADVICE)
SOURCES = {"sst2": GLUE, "rte": GLUE, "boolq": SUPER_GLUE, "mrpc": GLUE}

PARTS = tuple(Part(source, task, "validation") for task, source in SOURCES.items())


def hub_rows(task: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each validation row of `task` and where it stands. Errors: UserError if it is neither cached nor to be had."""
    source = SOURCES[task]
    for index, row in enumerate(source.load(task, "validation")):
        yield f"{source.repository} {task}, row {index}", row
