"""The report of a search: its front, what that covers, and how it is drawn."""

from __future__ import annotations

import math
import random
from itertools import product
from typing import Any

import pytest
from matplotlib.figure import Figure

from paramalloc.proposals import Proposal, as_json
from paramalloc.report.figures.gallery import make_figures
from paramalloc.report.figures.style import style
from paramalloc.report.load import SweepResults, load_results
from paramalloc.report.results_page import render_everything
from paramalloc.report.search import Found, hypervolume, rounds, searched
from paramalloc.report.variants import variant_results
from paramalloc.results import RANKING
from tests.report.conftest import BYTES_PER_TOKEN, make_sweep

SEARCH = {"trials": 6, "at_once": 3, "embedding_ratio": [0.1, 0.5], "vocab_size": [8_000, 16_000]}
POINTS = {  # perplexity, latency
    "emb35": (300.0, 10.0), "p01": (310.0, 8.0), "p02": (290.0, 12.0), "p03": (320.0, 9.0), "p05": (280.0, 20.0),
}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> SweepResults:
    """Two rounds: p04 has no shape, p06 is emb35 again, p03 is beaten by p01 in both aims."""
    sweep: Any = make_sweep(
        tmp_path_factory.mktemp("search"), [{"name": "emb35"}], search=SEARCH, ranking={"stop": "none"}
    )
    asked = {"embedding_ratio": 0.3, "vocab_size": 16_000}
    made = {**asked, "glu_expansion": 2.66}
    known = [
        Proposal(name, asked, {**made, "embedding_ratio": 0.2 + int(name[1:]) / 50})
        for name in POINTS
        if name[0] == "p"
    ]
    known += [Proposal("p04", asked, None), Proposal("p06", asked, made, same_as="emb35")]
    known.sort(key=lambda item: item.name)
    sweep.begin(shapes={"emb35": (220, 11, 11, 584, 0.35, 2.65)})
    for number in (0, 3):
        batch = known[number : number + 3]
        text = f"after results Optuna proposes {'; '.join(item.in_words() for item in batch)}"
        sweep.decision("proposals", RANKING, number=number, told=1, proposals=[as_json(p) for p in batch], text=text)
    grown = load_results(sweep.folder).config
    sweep.config = grown
    (sweep.folder.root / "decisions.jsonl").rename(sweep.folder.root / "kept")
    sweep_file = sweep.folder.sweep.read_text()
    sweep.begin(shapes={v.name: (220, 11, 11, 584, v.model.embedding_ratio, 2.65) for v in grown.variants})
    sweep.folder.sweep.write_text(sweep_file)  # the driver writes the file that was asked for, without proposals
    (sweep.folder.root / "kept").rename(sweep.folder.decisions)
    for name, (ppl, latency) in POINTS.items():
        sweep.trial(RANKING, name, final_ppl=ppl, latency_ms=latency)
    sweep.close()
    return load_results(sweep.folder)


def test_what_nothing_beats_in_both_aims_is_the_front(results: SweepResults) -> None:
    found = searched(variant_results(results))
    assert [item.name for item in found] == list(POINTS)
    assert [item.name for item in found if not item.on_front] == ["p03"]


def box(*points: tuple[float, float]) -> list[Found]:
    return [Found(str(rank), {}, bpb, latency, on_front=False) for rank, (latency, bpb) in enumerate(points)]


def test_the_hypervolume_is_the_share_of_the_box_that_is_dominated() -> None:
    assert hypervolume(box((0, 0), (1, 1))) == 1
    assert hypervolume(box((0, 1), (1, 0))) == 0
    assert hypervolume(box((0, 2), (1, 1), (2, 0))) == pytest.approx(1 / 4)
    assert hypervolume(box((0, 1), (0, 2))) is None
    few, many = box((1, 1)), box((0, 4), (1, 1), (4, 0))
    assert hypervolume(few, of=many) == pytest.approx(9 / 16)


def test_the_hypervolume_agrees_with_counting_cells() -> None:
    draw = random.Random(3)
    points = [(draw.randrange(30), draw.randrange(30)) for _ in range(12)]
    low, high = ([pick(point[axis] for point in points) for axis in (0, 1)] for pick in (min, max))
    cells = list(product(range(low[0], high[0]), range(low[1], high[1])))
    dominated = sum(any(x <= a and y <= b for x, y in points) for a, b in cells)
    assert hypervolume(box(*points)) == pytest.approx(dominated / len(cells))


def test_rounds_know_what_came_before_them(results: SweepResults) -> None:
    assert rounds(results) == [
        (0, ["emb35"]),
        (3, ["emb35", "p01", "p02", "p03"]),
        (6, ["emb35", "p01", "p02", "p03", "p05", "emb35"]),
    ]


def test_the_page_has_the_front_what_it_covers_and_what_came_to_nothing(results: SweepResults) -> None:
    page = render_everything(results, [])
    assert "6 proposals, of which 1 had no shape and 1 came to a shape that was there already." in page
    table = page.split("| front, the fastest first |")[1].split("\n\n")[0]
    assert [line.split(" | ")[0].strip("| ") for line in table.splitlines()[2:]] == ["p01", "emb35", "p02", "p05"]
    assert "Hypervolume: the front dominates" in page
    assert "p04 has no shape" in page


def test_figures_name_the_front_and_leave_long_lists_out(results: SweepResults) -> None:
    with style():
        figures: dict[str, Figure] = {picture.name: figure for picture, figure in make_figures(results)}
    assert list(figures)[:3] == ["search_front", "search_knobs", "learning_curves"]
    front = figures["search_front"].axes[0]
    assert {text.get_text() for text in front.texts} == set(POINTS)
    lines = {line.get_label(): line for line in front.lines}
    assert [tuple(point) for point in lines["dominated"].get_xydata()] == [
        (9.0, pytest.approx(math.log2(320) / BYTES_PER_TOKEN[16_000]))
    ]
    assert len(figures["search_knobs"].axes) == 2
    curves = {line.get_label() for line in figures["learning_curves"].axes[0].lines}
    assert "p03" not in curves
    assert "p05" in curves
