"""What must hold after any chaos: the same results as without it, a diary that tells every loss, a bill that adds up.

Always holds: reads files only; `problems` returns sentences, none when all is well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from paramalloc.files import read_json, read_jsonl
from paramalloc.results import FINALISTS, RANKING, ResultsFolder
from tests.chaos.figures import Recovery
from tests.chaos.scene import Struck
from tests.sweep.outcomes import numbers

_EXPLAINED_BY = {"trial_lost", "trial_preempted", "trial_stopped", "trial_error", "trial_failed", "session_start"}
_NOTICED_BY_THEN_SECONDS = 15.0  # a driver that told of anything this much later has told of the loss before
CENT = 0.011


def problems(folder: ResultsFolder, undisturbed: dict[str, Any], struck: list[Struck]) -> list[str]:
    """Everything that is not as it must be, in words."""
    return [
        *differences(numbers(folder), undisturbed),
        *doubled(folder),
        *unexplained(read_jsonl(folder.events)),
        *losses_untold(read_jsonl(folder.events), struck),
        *bill_problems(read_json(folder.cost_summary)),
        *left_behind(folder),
    ]


def differences(found: dict[str, Any], expected: dict[str, Any]) -> Iterator[str]:
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            yield f"{name} differs from the undisturbed run: {found.get(name)} instead of {expected.get(name)}"


def doubled(folder: ResultsFolder) -> Iterator[str]:
    for stage in (RANKING, FINALISTS):
        for trial in folder.trials(stage):
            tokens = [row["tokens"] for row in read_jsonl(trial.history)]
            if tokens != sorted(set(tokens)):
                yield f"{stage}/{trial.name} has doubled or unsorted lines at {tokens} tokens"
    decided = Counter((row["decision"], row.get("stage"), row.get("trial")) for row in read_jsonl(folder.decisions))
    yield from (f"decision {key} stands there {count} times" for key, count in decided.items() if count > 1)


def unexplained(events: list[dict[str, Any]]) -> Iterator[str]:
    """Between two attempts at a trial there is always an event that says why the first one ended."""
    begun: set[tuple[str, str]] = set()
    explained: set[tuple[str, str]] = set()
    for row in events:
        key = row.get("stage", ""), row.get("trial", "")
        if row["event"] == "trial_start":
            if key in begun and key not in explained:
                yield f"{key} began again without an event that says why"
            begun.add(key)
            explained.discard(key)
        elif row["event"] == "session_start":
            explained |= begun
        elif row["event"] in _EXPLAINED_BY:
            explained.add(key)


def losses_untold(events: list[dict[str, Any]], struck: list[Struck]) -> Iterator[str]:
    told = {row["node"] for row in events if row["event"] == "node_lost"}
    billed = {row["node"] for row in events if row["event"] == "node_down"}
    sessions = [row["time"] for row in events if row["event"] == "session_start"]
    for blow in struck:
        until = min((time for time in sessions if time > blow.time), default=float("inf"))
        seen = any(
            blow.time + _NOTICED_BY_THEN_SECONDS < row["time"] < until and row["event"] == "trial_end"
            for row in events
        )
        for node in blow.nodes:
            if seen and not {node} <= told & billed:
                yield f"{blow.kind} of node {node[:8]} is no event"


def lost_with_notice(recovered: list[Recovery]) -> Iterator[str]:
    """A trial that had time to save loses nothing."""
    for one in recovered:
        if one.noticed and one.lost_tokens:
            yield f"{one.trial} lost {one.lost_tokens} tokens to {one.kind}, of which it had notice"


def bill_problems(bill: dict[str, Any]) -> Iterator[str]:
    """Sum over uses = sum over nodes = total, in seconds and in cents."""
    for unit, total, tolerance in (
        ("node_seconds", bill["node_seconds"], 0.1),
        ("usd", bill["total_usd"], CENT),
    ):
        for part in ("by_use", "by_node"):
            lines = bill[part].values() if isinstance(bill[part], dict) else bill[part]
            if abs(sum(line[unit] for line in lines) - total) > tolerance:
                yield f"{part} of COST_SUMMARY.json does not add up to {total} {unit}"
    for line in bill["by_trial"]:
        if line["status"] is None:
            yield f"{line['trial']} was billed as if it still ran"
    trials = sum(line["node_seconds"] for line in bill["by_trial"])
    stages = sum(line["node_seconds"] for line in bill["by_stage"])
    if abs(trials - stages) > 0.1 or trials > bill["node_seconds"]:
        yield f"trials were billed {trials} s, stages {stages} s, nodes {bill['node_seconds']} s"


def left_behind(folder: ResultsFolder) -> Iterator[str]:
    for path in folder.root.rglob(".*"):
        if path not in (folder.lock, folder.copy_name):
            yield f"{path.relative_to(folder.root)} was left behind"
