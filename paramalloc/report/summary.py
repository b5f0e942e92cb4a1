"""results_summary.csv: one row per trial, flat columns named as in metrics.json.

Always holds: nested values become dotted columns (`params.token_embedding`, `latency_ms.128.p50`); after those that
say which trial a row is come the others in the order of metrics.json, whatever the order of the trials; what was
not measured is an empty cell, never 0; numbers keep every digit.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from paramalloc.report.load import Json, SweepResults, Trial

_IDENTITY = ("sweep", "stage", "trial", "variant", "seed", "status", "tokens")


def summary_csv(results: SweepResults) -> str:
    """The table as CSV text, a header line first."""
    return summary_table(results).to_csv(index=False, lineterminator="\n")


def summary_table(results: SweepResults) -> pd.DataFrame:
    """One row per trial that has begun; object columns, so that integers beside nulls stay integers."""
    documents = [_document(results, trial) for trial in results.trials]
    schema: Json = dict.fromkeys(_IDENTITY)
    for document in sorted(documents, key=lambda document: "schema_version" not in document):
        _widen(schema, document)
    columns = list(_flatten(schema))
    rows = [_flatten(document) for document in documents]
    cells = [[row.get(column) for column in columns] for row in rows]
    return pd.DataFrame(cells, columns=columns, dtype=object)


def _document(results: SweepResults, trial: Trial) -> Json:
    """metrics.json; for a trial that has none yet, what its history tells, under the same names."""
    if trial.metrics:
        return trial.metrics
    return {
        "sweep": results.config.name,
        "stage": trial.stage,
        "trial": trial.name,
        "variant": trial.variant,
        "status": trial.status,
        "tokens": trial.tokens,
        "last_evaluation": trial.last_evaluation,
    }


def _widen(schema: Json, document: Json) -> None:
    """Add the document's keys to the schema; a key that is null here and nested elsewhere is nested."""
    for key, value in document.items():
        known = schema.setdefault(key, None)
        if isinstance(value, dict):
            schema[key] = known = known or {}
            _widen(known, value)


def _flatten(document: Json, prefix: str = "") -> Json:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
