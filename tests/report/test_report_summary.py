"""results_summary.csv against the files it is made from."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import pandas as pd

from paramalloc.files import read_json
from paramalloc.report.load import load_results
from paramalloc.report.summary import summary_csv
from paramalloc.results import FINALISTS, RANKING, ResultsFolder


def rows_of(folder: ResultsFolder) -> dict[tuple[str, str], dict[str, str]]:
    reader = csv.DictReader(io.StringIO(summary_csv(load_results(folder))))
    return {(row["stage"], row["trial"]): row for row in reader}


def test_every_trial_is_one_row_with_the_values_of_its_metrics_digit_by_digit(embed_report: ResultsFolder) -> None:
    table = pd.read_csv(embed_report.summary_csv).set_index(["stage", "trial"])
    assert len(table) == 10
    for stage, name in ((FINALISTS, "emb25-seed2"), (RANKING, "emb35")):
        metrics = read_json(embed_report.trial(stage, name).metrics)
        row = table.loc[stage, name]
        for column in ("dev_ppl", "test_bpb", "embedding_share", "train_flops", "tokens", "total_params"):
            assert row[column] == metrics[column]
        assert row["params.token_embedding"] == metrics["params"]["token_embedding"]
        assert row["latency_ms.128.p50"] == metrics["latency_ms"]["128"]["p50"]
        assert row["last_evaluation.dev_ppl"] == metrics["last_evaluation"]["dev_ppl"]


def test_null_is_an_empty_cell_and_integers_stay_integers(embed_sweep: Any) -> None:
    rows = rows_of(embed_sweep.folder)
    killed = rows[RANKING, "emb45"]
    empty = ("dev_ppl", "test_ppl", "latency_ms.128.p50", "peak_memory_mb", "smallbench")
    assert {killed[column] for column in empty} == {""}
    assert (killed["seed"], killed["tokens"], killed["preemptions"]) == ("0", "1750000", "0")
    assert killed["last_evaluation.dev_ppl"] != ""
    assert "latency_ms" not in killed  # null for the killed, but it has columns of its own


def test_columns_keep_their_order_whichever_trial_comes_first(
    new_sweep: Callable[..., Any], shares: list[dict[str, Any]], embed_sweep: Any
) -> None:
    sweep = new_sweep(shares, name="killed-first")
    sweep.begin()
    sweep.trial(RANKING, "emb35", final_ppl=300.0, status="unfinished", until_tokens=500_000)
    sweep.trial(RANKING, "emb25", final_ppl=300.0, status="failed", until_tokens=0)
    sweep.trial(RANKING, "emb45", final_ppl=300.0)
    sweep.trial(RANKING, "emb15", final_ppl=300.0, latency_ms=None)
    columns = [list(next(iter(rows_of(folder).values()))) for folder in (sweep.folder, embed_sweep.folder)]
    assert columns[0] == columns[1]
    assert columns[0][:6] == ["sweep", "stage", "trial", "variant", "seed", "status"]
    rows = rows_of(sweep.folder)
    unfinished, failed = rows[RANKING, "emb35"], rows[RANKING, "emb25"]
    assert (unfinished["status"], unfinished["tokens"], unfinished["seed"]) == ("unfinished", "500000", "")
    assert failed["seed"] == "0"  # and not 0.0, though it stands in a column with an empty cell


def test_a_sweep_that_has_trained_nothing_yet_has_a_header(
    new_sweep: Callable[..., Any], shares: list[dict[str, Any]]
) -> None:
    sweep = new_sweep(shares)
    sweep.begin()
    assert summary_csv(load_results(sweep.folder)) == "sweep,stage,trial,variant,seed,status,tokens\n"
