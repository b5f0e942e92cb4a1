"""The report of a runbook: each stage's runs in figures of their own, on the winner that they were built on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from matplotlib.figure import Figure

from paramalloc.report.figures.gallery import make_figures
from paramalloc.report.figures.style import style
from paramalloc.report.load import SweepResults, load_results
from paramalloc.report.markdown import render_report
from paramalloc.report.results_page import render_results
from paramalloc.report.variants import variant_results, with_finals_of_origin
from paramalloc.results import FINALISTS
from tests.report.conftest import make_sweep

STAGES = [
    {"name": "embed", "experiments": [{"name": "emb35"}, {"name": "emb25", "embedding_ratio": 0.25}]},
    {
        "name": "glu",
        "builds_on": "embed",
        "experiments": [
            {"name": "glu266x"},
            {"name": "glu2x", "glu_expansion": 2.0},
            {"name": "glu4x", "glu_expansion": 4.0},
        ],
    },
    {
        "name": "vocab",
        "builds_on": "glu",
        "experiments": [
            {"name": "tied16k"},
            {"name": "tied8k", "vocab_size": 8_000},
            {"name": "untied8k", "vocab_size": 8_000, "tied": False},
        ],
    },
]
RANKED = {
    "embed": {"emb35": 312.0, "emb25": 301.5},
    "glu": {"glu266x": 301.5, "glu2x": 300.0},
    "vocab": {"tied16k": 300.0, "tied8k": 295.0, "untied8k": 320.0},
}
SHAPE = (220, 11, 11, 584, 0.35, 2.65)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> SweepResults:
    """A runbook through to its verdict: emb25, glu2x and tied8k win their stages, and glu4x is killed."""
    sweep: Any = make_sweep(tmp_path_factory.mktemp("book"), None, name="book", stages=STAGES)
    names = [variant.name for variant in sweep.config.variants]
    sweep.begin(shapes={name: (*SHAPE[:4], 0.2 + rank / 50, 2 + rank / 10) for rank, name in enumerate(names)})
    for stage, scores in RANKED.items():
        for name, ppl in scores.items():
            sweep.trial(stage, name, final_ppl=ppl)
        if stage == "glu":
            sweep.kill("glu4x", 1_750_000, 19.3, stage=stage, baseline="glu266x")
            sweep.trial(stage, "glu4x", final_ppl=352.0, status="killed", until_tokens=1_750_000)
        winner = min(scores, key=lambda name: scores[name])
        if stage != "vocab":
            sweep.decision("stage_winner", stage, variant=winner, text=f"{winner} goes on")
    sweep.promote({"emb35": 312.0, "tied8k": 295.0})
    for seed in (0, 1, 2):
        for name, ppl in (("emb35", 82.0), ("tied8k", 79.0)):
            sweep.trial(FINALISTS, name, final_ppl=ppl + 0.3 * seed, seed=seed)
    sweep.decide()
    sweep.close()
    return load_results(sweep.folder)


@pytest.fixture(scope="module")
def figures(book: SweepResults) -> dict[str, Figure]:
    with style():
        return {picture.name: figure for picture, figure in make_figures(book)}


def test_variants_are_those_on_the_winners(book: SweepResults) -> None:
    assert {name: [item.name for item in members] for name, members in book.stages.items()} == {
        stage["name"]: [item["name"] for item in stage["experiments"]] for stage in STAGES
    }
    assert {variant.name: variant.model.embedding_ratio for variant in book.stages["glu"]}["glu4x"] == 0.25
    assert {variant.model.glu_expansion for variant in book.stages["vocab"]} == {2.0}


def test_each_stage_has_its_own_figure_along_what_it_varies(figures: dict[str, Figure]) -> None:
    assert list(figures)[:7] == [
        "effects", "ppl_vs_embedding_share_embed", "ppl_vs_glu_expansion_glu", "ppl_vs_variant_vocab",
        "learning_curves_embed", "learning_curves_glu", "learning_curves_vocab",
    ]  # fmt: skip


def test_a_figure_shows_only_its_stages_runs_against_its_stages_baseline(figures: dict[str, Figure]) -> None:
    labels = {line.get_label() for line in figures["learning_curves_glu"].axes[0].lines}
    assert {label for label in labels if not label.startswith("_")} == {"glu266x (baseline)", "glu2x", "glu4x"}
    ticks = figures["ppl_vs_variant_vocab"].axes[0].get_xticklabels()
    assert [tick.get_text() for tick in ticks] == ["tied16k\nbaseline", "tied8k", "untied8k"]


def test_tables_say_which_stage_a_run_belongs_to(book: SweepResults) -> None:
    page = render_results(book, [])
    assert "| variant | stage | d_model" in page
    assert "| glu2x | glu |" in page
    assert "| glu4x | glu | 1.75M tokens |" in page  # among the kills
    assert "Ranked in 3 stages: embed (emb35 and emb25); glu on emb25 (" in render_report(book, [])


def test_a_variant_whose_run_was_taken_over_is_shown_with_the_final_of_its_origin(book: SweepResults) -> None:
    variants = variant_results(book)
    by_name = {variant.name: variant for variant in variants}
    own = by_name["glu266x"]
    assert own.ranking
    assert with_finals_of_origin(own, variants) is own
    run = replace(own.ranking, metrics=own.ranking.metrics | {"same_run_as": "embed/emb35"})
    found = with_finals_of_origin(replace(own, ranking_runs=(run,)), variants)
    assert found.name == "glu266x"
    assert [trial.name for trial in found.finals] == [trial.name for trial in by_name["emb35"].finals]
    assert len(found.finals) == 3
