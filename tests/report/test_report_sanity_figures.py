"""The figures of the checks, read back from the drawn objects and from the folder."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paramalloc.errors import UserError
from paramalloc.files import atomic_write, write_json
from paramalloc.report.figures.lr_find import draw_lr_find
from paramalloc.report.figures.overfit import draw_overfit
from paramalloc.report.figures.sanity import draw_sanity_figures
from paramalloc.report.figures.style import looks, style
from paramalloc.results import ResultsFolder

RATES = [10 ** (decade / 4) for decade in range(-20, -3)]


def range_test(**changes: Any) -> dict[str, Any]:
    losses = [7 - 2 / (1 + (2e-3 / rate) ** 2) for rate in RATES]
    found = {
        "passed": True,
        "message": "base: learning rate 0.002 suggested",
        "suggestion": 2e-3,
        "unstable_above": 1e-2,
        "configured": [1e-3, 4e-3],
    }
    return found | {"learning_rates": RATES, "losses": losses, "smoothed": losses} | changes


def attempt(losses: list[float | None], rate: float = 1e-3) -> dict[str, Any]:
    return {"learning_rate": rate, "losses": losses}


def check(*attempts: dict[str, Any]) -> dict[str, Any]:
    levels = {"uniform": 7.0, "unigram": 5.5, "bigram": 1.2}
    return {
        "passed": True,
        "message": "base: memorized",
        "target_loss": 0.05,
        "evidence": {"levels": levels, "attempts": list(attempts)},
    }


def drawn_overfit(checks: dict[str, Any]) -> Axes:
    with style():
        figure = draw_overfit(checks, looks(list(checks), next(iter(checks))))
        assert figure is not None
        figure.draw_without_rendering()
    return figure.axes[0]


def drawn_lr_find(tests: dict[str, Any]) -> Figure:
    with style():
        figure = draw_lr_find(tests)
        assert figure is not None
        figure.draw_without_rendering()
    return figure


def uprights(axes: Axes, label: str) -> list[float]:
    return [float(line.get_xdata()[0]) for line in axes.lines if line.get_label() == label]


def test_a_range_test_marks_the_suggestion_the_configured_rates_and_where_rates_are_too_high() -> None:
    figure = drawn_lr_find({"base": range_test()})
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert uprights(axes, "suggested") == [2e-3]
    assert uprights(axes, "in the sweep file") == [1e-3, 4e-3]
    (shade,) = axes.patches
    assert shade.get_x() == 1e-2
    assert shade.get_x() + shade.get_width() >= axes.get_xlim()[1]
    assert [text.get_text() for text in axes.texts] == ["2.0e-3"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()].count("in the sweep file") == 1


def test_several_range_tests_have_a_panel_each_on_one_scale() -> None:
    figure = drawn_lr_find({"base": range_test(), "wide": range_test(suggestion=None, configured=[1e-7])})
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["base", "wide"]
    assert uprights(figure.axes[1], "suggested") == []
    assert {axes.get_xlim() for axes in figure.axes} == {(1e-7, RATES[-1])}


def test_a_loss_that_shoots_up_or_is_not_finite_does_not_spoil_the_scale() -> None:
    test = range_test()
    test["losses"] = [*test["losses"][:-2], 40.0, None]
    test["smoothed"] = [*test["smoothed"][:-2], 40.0]
    (axes,) = drawn_lr_find({"base": test}).axes
    assert axes.get_ylim()[1] < 9


def test_memorizing_is_drawn_down_to_the_target_beside_what_partial_knowledge_reaches() -> None:
    axes = drawn_overfit({"base": check(attempt([7.0, None]), attempt([7.0, 1.0, 0.04]))})
    curves = [[float(loss) for loss in line.get_ydata()] for line in axes.lines if len(line.get_xdata()) > 2]
    assert curves == [[7.0, 1.0, 0.04]]
    assert axes.get_yscale() == "log"
    heights = {float(line.get_ydata()[0]) for line in axes.lines if line.get_ydata()[0] == line.get_ydata()[-1]}
    assert heights == {0.05, 7.0, 5.5, 1.2}
    assert any(math.isnan(line.get_ydata()[-1]) for line in axes.lines)
    assert "memorized: below 0.05" in [text.get_text() for text in axes.texts]


def test_several_variants_share_one_panel() -> None:
    axes = drawn_overfit({"base": check(attempt([7.0, 0.04])), "wide": check(attempt([7.0, 3.0, 0.04], rate=2e-3))})
    labels = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert labels == ["base (rate 1.0e-3)", "wide (rate 2.0e-3)"]


def test_a_model_that_was_refused_before_any_step_has_no_curve() -> None:
    with style():
        assert draw_overfit({"base": check()}, looks(["base"], "base")) is None


def test_a_range_test_that_saw_no_finite_loss_has_no_panel() -> None:
    lost = range_test(learning_rates=[1e-5], losses=[None], smoothed=[], suggestion=None)
    assert len(drawn_lr_find({"base": lost, "wide": range_test()}).axes) == 1
    with style():
        assert draw_lr_find({"base": lost}) is None


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path, content: str) -> None:
    folder = ResultsFolder(tmp_path)
    atomic_write(folder.overfit("base"), content)
    with pytest.raises(UserError, match=r"overfit-base\.json: .*delete it"):
        draw_sanity_figures(folder, ["base"])


@pytest.mark.parametrize(
    ("checked", "names"),
    [
        ([], {}),
        (["wide"], {"overfit": "overfit-wide", "lr_find": "lr_find-wide"}),
        (["wide", "base"], {"overfit": "overfit", "lr_find": "lr_find"}),
    ],
)
def test_figures_are_drawn_of_what_was_checked(tmp_path: Path, checked: list[str], names: dict[str, str]) -> None:
    folder = ResultsFolder(tmp_path)
    for variant in checked:
        write_json(folder.overfit(variant), check(attempt([7.0, 0.04])))
        write_json(folder.lr_find(variant), range_test())
    assert draw_sanity_figures(folder, ["base", "wide", "other"]) == names
    files = {path.name for path in tmp_path.glob("figures/*")}
    assert files == {f"{name}.{kind}" for name in names.values() for kind in ("png", "svg")}
