"""What REPORT.md says of intervals, of the checks before the ranking, and of the text; and where it says nothing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paramalloc.data.manifest import length_summary
from paramalloc.files import append_jsonl, read_json, write_json
from paramalloc.report import build_report
from paramalloc.report.load import load_results
from paramalloc.report.results_page import render_everything
from paramalloc.results import FINALISTS, RANKING, ResultsFolder

LENGTHS = {"train": {100: 750, 1000: 250}, "dev": {60: 20}, "test": {70: 10}}
LEVELS = {"uniform": 9.7, "unigram": 5.5, "bigram": 1.2}
ATTEMPT = {"learning_rate": 1e-3, "losses": [9.7, 1.0, 0.04]}


def manifest(*vocab_sizes: int, dropped: int = 0) -> dict[str, Any]:
    sizes = {split: {"documents": sum(lengths.values()), "bytes": 2_500_000} for split, lengths in LENGTHS.items()}
    summaries = {
        split: {"tokens": 1_234_567, "bytes_per_token": 4.321, **length_summary(lengths, [512])}
        for split, lengths in LENGTHS.items()
    }
    return {
        "corpus": "wikitext-103",
        "settings": {"documents": "article"},
        "source": {"repository": "Salesforce/wikitext", "revision": "b08601e04326c79d", "licence": "CC BY-SA 3.0"},
        "overlap": {"train_documents": 1000, "dropped_documents": dropped},
        "splits": sizes,
        "vocabularies": [{"vocab_size": size, "splits": summaries} for size in vocab_sizes],
    }


def overfit(passed: bool, message: str) -> dict[str, Any]:
    evidence = {"levels": LEVELS, "attempts": [ATTEMPT]}
    return {"passed": passed, "message": message, "target_loss": 0.05, "evidence": evidence}


def lr_find(message: str) -> dict[str, Any]:
    curve = {"learning_rates": [1e-5, 1e-3, 1e-1], "losses": [9.7, 8.0, 9.0], "smoothed": [9.7, 8.5, 8.6]}
    found = {"suggestion": 1e-3, "unstable_above": 1e-2, "configured": [1e-3]}
    return {"passed": True, "message": message, **found, **curve}


def page(folder: ResultsFolder) -> str:
    return render_everything(load_results(folder), [])


def row(text: str, first_cell: str, heading: str) -> list[str]:
    """A row's other cells, in the table below a heading."""
    line = next(x for x in text.split(heading)[1].splitlines() if x.startswith(f"| {first_cell} |"))
    return line.strip("| ").split(" | ")[1:]


@pytest.fixture
def folder(embed_report: ResultsFolder, tmp_path: Path) -> ResultsFolder:
    """A copy of the finished sweep's results, to be added to."""
    shutil.copytree(embed_report.root, tmp_path / "embed", ignore=shutil.ignore_patterns("figures", "REPORT.md"))
    return ResultsFolder(tmp_path / "embed")


def test_scores_have_the_mean_interval_of_the_seeds(folder: ResultsFolder) -> None:
    text = page(folder)
    ppl = (76.6 + 77.1 + 77.3) / 3
    assert row(text, "emb25", "## Final scores")[0] == f"{ppl:.2f} [{0.98 * ppl:.2f}, {1.03 * ppl:.2f}]"
    test = 1.04 * ppl
    assert row(text, "emb25", "## Final scores")[2] == f"{test:.2f} [{0.98 * test:.2f}, {1.03 * test:.2f}]"
    assert "| emb45 |" not in text.split("## Final scores")[1].split("##")[0]  # killed: no final score
    assert "not the choice of the seed" in text


def test_without_intervals_the_score_stands_alone_or_the_reason_is_given(folder: ResultsFolder) -> None:
    runs = [folder.trial(FINALISTS, f"{name}-seed{seed}").metrics for name in ("emb25", "emb35") for seed in range(3)]
    write_json(runs[0], read_json(runs[0]) | {"dev_ppl_ci95": None})
    assert row(page(folder), "emb25", "## Final scores")[0] == "77.00"
    for run in runs:
        metrics = read_json(run)
        write_json(run, metrics | dict.fromkeys((name for name in metrics if name.endswith("ci95")), None))
    text = page(folder)
    assert "| finalist |" not in text
    assert "fewer than 10 documents each" in text


def test_across_tokenizers_only_bits_per_byte_have_intervals(new_sweep: Callable[..., Any]) -> None:
    sweep = new_sweep([{"name": "v16k", "vocab_size": 16_000}, {"name": "v8k", "vocab_size": 8_000}])
    sweep.begin(shapes=dict.fromkeys(("v16k", "v8k"), (220, 11, 11, 584, 0.35, 2.65)))
    sweep.trial(FINALISTS, "v8k", final_ppl=80.0)
    heads = next(line for line in page(sweep.folder).splitlines() if line.startswith("| finalist |"))
    assert heads == "| finalist | dev bpb | test bpb |"


def test_checks_and_text_have_sections_with_their_figures(folder: ResultsFolder) -> None:
    before = page(folder)
    assert "## Sanity" not in before
    assert "## Data" not in before
    write_json(folder.overfit("emb35"), overfit(True, "emb35: memorized 1,024 tokens"))
    write_json(folder.overfit("emb25"), overfit(False, "emb25: the loss is stuck"))
    write_json(folder.lr_find("emb35"), lr_find("emb35: learning rate 0.001 suggested"))
    write_json(folder.manifest, manifest(16_000, dropped=50))
    build_report(folder)
    text = folder.results_page.read_text()
    sanity, data = text.split("## Sanity")[1].split("## Data")
    assert "- emb35: memorized 1,024 tokens\n- **failed:** emb25: the loss is stuck\n- emb35: learning rate" in sanity
    assert re.findall(r"\]\(([^)]+)\)", sanity) == ["figures/overfit.png", "figures/lr_find-emb35.png"]
    assert "wikitext-103 (Salesforce/wikitext at revision b08601e04326; licence CC BY-SA 3.0)." in data
    assert "tokens at a vocabulary of 16,000 (a document is an article)." in page(folder)
    assert "50 training documents (5.0%) held text of dev or test and were left out." in data
    assert "25.0% are longer than a context of 512 tokens." in data
    assert row(text, "train", "## Data") == ["16,000", "1,000", "2.50", "1,234,567", "4.32", "100"]
    assert "(figures/token_lengths.png)" in data.split("## The bill")[0]
    assert all((folder.root / link).is_file() for link in re.findall(r"\]\(([^)]+)\)", text))


def test_several_vocabularies_have_rows_of_their_own(folder: ResultsFolder) -> None:
    write_json(folder.manifest, manifest(16_000, 8_000))
    text = page(folder)
    assert "No training document held text of dev or test." in text
    assert "25.0% are longer than a context of 512 tokens at a vocabulary of 8,000" in text
    assert [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| train")] == ["16,000", "8,000"]


def test_an_automatic_learning_rate_is_told_among_the_decisions(folder: ResultsFolder) -> None:
    reason = "emb25: learning rate 0.0021 suggested: there, 90 % of the fall was done"
    fields = {"variant": "emb25", "suggestion": 2.1e-3, "reason": reason}
    append_jsonl(folder.decisions, {"decision": "learning_rate", "time": 0.0, "stage": RANKING, **fields})
    assert f"- {reason} (taken)\n- emb45 killed" in page(folder).split("## Decisions")[1]
