"""Rows of text through Hugging Face `datasets`: WikiText from the Hub (at a pinned revision) or local parquet files.

Always holds: without a network a copy in the Hub cache is used, and if there is none the error comes within seconds
with advice; nothing is imported or fetched before the first row is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from paramalloc.data.pinned import Part, PinnedDataset, import_datasets
from paramalloc.data.source_files import SourceFile, data_file
from paramalloc.data.splits import Split
from paramalloc.errors import UserError

WIKITEXT = PinnedDataset(
    repository="Salesforce/wikitext",
    revision="b08601e04326c79dfdd32d625aee71d232d685c3",
    place="data.corpus",
    advice="give data.corpus the path of a folder or file with text, or take the built-in one, data.corpus=synthetic",
)
WIKITEXT_LICENCE = "CC BY-SA 3.0 and GFDL"  # as the data set's card states them
WIKITEXT_CONFIGS = {"wikitext-2": "wikitext-2-raw-v1", "wikitext-103": "wikitext-103-raw-v1"}
# Bytes of the train split as the data set's card states them (in memory, so about 1 % above the plain text).
PUBLISHED_TRAIN_BYTES = {"wikitext-2": 11_061_717, "wikitext-103": 546_500_949}
HUB_SPLITS: dict[Split, str] = {"train": "train", "dev": "validation", "test": "test"}

_ROWS_AT_ONCE = 1000


def wikitext_parts(name: str) -> tuple[Part, ...]:
    """What is read of `wikitext-2` or `wikitext-103`."""
    return tuple(Part(WIKITEXT, WIKITEXT_CONFIGS[name], split) for split in HUB_SPLITS.values())


def wikitext_rows(name: str, split: Split) -> Iterator[str]:
    """Lines of `wikitext-2` or `wikitext-103`. Errors: UserError if it is neither cached nor to be had."""
    yield from _texts(_load(name, split), name)


def wikitext_files(name: str) -> tuple[SourceFile, ...]:
    """The files in the local cache that the rows come from. Errors: as `wikitext_rows`."""
    return tuple(
        data_file(Path(file["filename"]), split, Path(file["filename"]).name)
        for split in HUB_SPLITS
        for file in _load(name, split).cache_files
    )


def parquet_rows(files: Sequence[Path]) -> Iterator[str]:
    """The `text` column of local parquet files, in order. Errors: UserError if there is no such column."""
    datasets = import_datasets()
    data_files = {"train": [str(file) for file in files]}
    yield from _texts(
        datasets.load_dataset("parquet", data_files=data_files, split="train", streaming=True), str(files[0])
    )


def _texts(rows: Any, place: str) -> Iterator[str]:
    for batch in rows.iter(batch_size=_ROWS_AT_ONCE):
        if "text" not in batch:
            raise UserError("data.corpus", f"{place} with columns {', '.join(batch)}", "a `text` column is needed")
        for text in batch["text"]:
            yield text.rstrip("\n")


def _load(name: str, split: Split) -> Any:
    return WIKITEXT.load(WIKITEXT_CONFIGS[name], HUB_SPLITS[split])
