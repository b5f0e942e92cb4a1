"""What two runs of the same sweep must have in common, whatever befell one of them."""

from __future__ import annotations

from typing import Any

from paramalloc.files import read_json, read_jsonl
from paramalloc.results import MEASURED_FIELDS, ResultsFolder

MEASUREMENT = "paramalloc.sweep.runbook.stages.Measurement"


class NotMeasured:
    """In place of MEASUREMENT: latency and memory take ten seconds and no part in what is compared."""

    def __init__(self, *_: Any) -> None: ...

    def finish(self, runs: dict[str, Any], *_: Any) -> dict[str, dict[str, Any]]:
        return {variant: {"alone": True} for variant in runs}


def without_measurements(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_measurements(inner) for key, inner in value.items() if key not in MEASURED_FIELDS}
    return [without_measurements(inner) for inner in value] if isinstance(value, list) else value


def numbers(folder: ResultsFolder) -> dict[str, Any]:
    """All that a sweep found out: metrics, curves and decisions, without what measures the machine or the day.

    Without the commit, too: machines of a cluster get the code and no repository, and somebody may commit meanwhile.
    """
    found: dict[str, Any] = {}
    for path in sorted(folder.root.glob("*/*/metrics.json")):
        trial = folder.trial(path.parent.parent.name, path.parent.name)
        found[f"{trial.stage}/{trial.name}"] = without_measurements(read_json(trial.metrics)) | {"git_sha": None}
        found[f"{trial.stage}/{trial.name}/history"] = without_measurements(read_jsonl(trial.history))
    for row in read_jsonl(folder.decisions):
        row.pop("time")
        if row["decision"] == "winner":  # which rests on latency and memory too
            row = {"improvement": [comparison["improvement"] for comparison in row["comparisons"]]}
        found[f"{row.get('decision', 'winner')}/{row.get('stage', '')}/{row.get('trial', '')}"] = row
    return found
