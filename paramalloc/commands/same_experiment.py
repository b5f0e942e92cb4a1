"""Keeps commands from writing into the results of another experiment, where a report would take theirs for its own.

Always holds: a folder without a plan or sweep.yaml belongs to nobody yet; nothing is written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from paramalloc.errors import UserError
from paramalloc.results import ResultsFolder

if TYPE_CHECKING:
    from paramalloc.config import SweepConfig
    from paramalloc.sweep.runbook.sanity import Check

_ADVICE = "give --results another folder"


def require_same_text(config: SweepConfig, folder: ResultsFolder) -> None:
    """Errors: UserError where the results were made with another text than the one the sweep file names now."""
    from paramalloc.data.corpus import open_corpus
    from paramalloc.sweep import changes

    changes.require_same_text(config, folder, open_corpus(config.data).fingerprint(), _ADVICE)


def require_same_checks(checks: Sequence[Check], folder: ResultsFolder) -> None:
    """Errors: UserError where a check would try another model or other settings than the results are of."""
    from paramalloc.sweep.runbook.plan_so_far import plan_so_far
    from paramalloc.sweep.runbook.sanity import check_of
    from paramalloc.sweep_file import load_sweep

    if not folder.sweep.exists():
        return
    theirs = {item.name: item for item in plan_so_far(load_sweep(folder.sweep), folder).variants}
    for check in checks:
        item = theirs.get(check.variant)
        if item is None or check_of(check.kind, item).subject("") != check.subject(""):
            raise UserError(str(folder.root), f"results of a sweep with another {check.variant}", _ADVICE)
