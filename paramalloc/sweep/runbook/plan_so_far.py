"""The plan as far as it is decided: on what winners of stages have settled, with what a search has proposed.

Always holds: it rests on the sweep file and decisions.jsonl alone, so every command sees the plan that the sweep has.
"""

from __future__ import annotations

from paramalloc.config import SweepConfig
from paramalloc.files import read_jsonl
from paramalloc.plan import Plan, make_plan
from paramalloc.proposals import proposals_in
from paramalloc.results import ResultsFolder
from paramalloc.sweep.runbook.decisions import known_winners


def plan_so_far(config: SweepConfig, folder: ResultsFolder) -> Plan:
    """The plan of a sweep whose results are, or are to be, in `folder`. Errors: UserError as for `make_plan`."""
    return make_plan(config, known_winners(folder), proposals_in(read_jsonl(folder.decisions)))
