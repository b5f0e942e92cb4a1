"""The figure of document lengths: drawn from the manifest alone, the same bytes each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paramalloc.data.manifest import length_summary
from paramalloc.files import write_json
from paramalloc.report.figures.style import style
from paramalloc.report.figures.token_lengths import draw_token_lengths, write_token_lengths
from paramalloc.results import ResultsFolder

LENGTHS = {"train": {3: 1, 40: 10, 100: 25, 5000: 4}, "dev": {60: 2}, "test": {1: 1, 700: 1}}


def manifest(*vocab_sizes: int, contexts: tuple[int, ...] = (64,)) -> dict[str, Any]:
    summaries = {split: length_summary(lengths, list(contexts)) for split, lengths in LENGTHS.items()}
    return {
        "splits": {split: {"documents": sum(lengths.values())} for split, lengths in LENGTHS.items()},
        "vocabularies": [{"vocab_size": size, "splits": summaries} for size in vocab_sizes],
    }


def test_it_is_written_as_png_and_svg_and_the_same_each_time(tmp_path: Path) -> None:
    folder = ResultsFolder(tmp_path)
    write_json(folder.manifest, manifest(1000))
    files = [folder.figures / f"token_lengths.{kind}" for kind in ("png", "svg")]
    write_token_lengths(folder)
    first = [file.read_bytes() for file in files]
    write_token_lengths(folder)
    assert [file.read_bytes() for file in files] == first


def test_the_share_that_is_longer_falls_from_all_to_none_and_is_exact_at_the_edges() -> None:
    with style():
        figure = draw_token_lengths(manifest(1000, contexts=(64, 512)))
    (axes,) = figure.axes
    lines = {line.get_label(): line for line in axes.lines}
    for label, split in (("train (40)", "train"), ("dev (2)", "dev"), ("test (2)", "test")):
        lengths, shares = lines[label].get_xdata(), list(lines[label].get_ydata())
        documents = sum(LENGTHS[split].values())
        for edge, share in zip(lengths, shares, strict=True):
            longer = sum(count for tokens, count in LENGTHS[split].items() if tokens > edge)
            assert share == pytest.approx(100 * longer / documents)
        assert shares == sorted(shares, reverse=True)
        assert shares[-1] == 0
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.texts] == ["context 64: 72.5% longer", "context 512: 10.0% longer"]
    low, high = axes.get_xlim()
    assert low < 1
    assert high > 5000


def test_each_vocabulary_has_a_panel() -> None:
    with style():
        figure = draw_token_lengths(manifest(1000, 16_000))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["vocabulary of 1,000", "vocabulary of 16,000"]
