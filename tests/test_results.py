"""The names in a results folder: all different, and all in the layout that the module opens with."""

from __future__ import annotations

from pathlib import Path

from paramalloc import results
from paramalloc.results import ComparisonFolder, ResultsFolder, TrialFolder

ROOT = Path("root")


def named(folder: ResultsFolder | TrialFolder | ComparisonFolder) -> list[Path]:
    """What the properties of a folder say."""
    return [getattr(folder, name) for name, value in vars(type(folder)).items() if isinstance(value, property)]


def test_every_name_is_its_own_and_in_the_layout() -> None:
    folder, trial = ResultsFolder(ROOT), TrialFolder(ROOT, "<stage>", "<trial>")
    checks = [folder.overfit("<variant>"), folder.lr_find("<variant>"), folder.check_error("<check>")]
    paths = [*named(folder), *named(trial), *checks, folder.tokenizer(0)]
    assert len(set(paths)) == len(paths)
    layout = results.__doc__.split("Layout:")[1].replace("<vocab_size>", "0")
    listed = {word.rstrip("/") for word in layout.split()}
    assert {path.name for path in paths} <= listed | {"<trial>"}
