"""Rows of text through Hugging Face `datasets`: WikiText from the Hub (at a pinned revision) or local parquet files.

Always holds: without a network a copy in the Hub cache is used, and if there is none the error comes within seconds
with advice; nothing is imported or fetched before the first row is asked for.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from paramalloc.data.splits import Split
from paramalloc.errors import UserError

WIKITEXT = "Salesforce/wikitext"
REVISION = "b08601e04326c79dfdd32d625aee71d232d685c3"
WIKITEXT_CONFIGS = {"wikitext-2": "wikitext-2-raw-v1", "wikitext-103": "wikitext-103-raw-v1"}
# Bytes of the train split as the data set's card states them (in memory, so about 1 % above the plain text).
PUBLISHED_TRAIN_BYTES = {"wikitext-2": 11_061_717, "wikitext-103": 546_500_949}
HUB_SPLITS: dict[Split, str] = {"train": "train", "dev": "validation", "test": "test"}

_PROBE_SECONDS = 5.0
_ROWS_AT_ONCE = 1000


def wikitext_rows(name: str, split: Split) -> Iterator[str]:
    """Lines of `wikitext-2` or `wikitext-103`. Errors: UserError if it is neither cached nor to be had."""
    yield from _texts(_load_wikitext(WIKITEXT_CONFIGS[name], HUB_SPLITS[split]), name)


def parquet_rows(files: Sequence[Path]) -> Iterator[str]:
    """The `text` column of local parquet files, in order. Errors: UserError if there is no such column."""
    import datasets  # takes 1-2 s, so only where it is needed

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


def _load_wikitext(config: str, split: str) -> Any:
    import datasets
    import huggingface_hub.constants

    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # no telemetry: nothing but the data is asked for
    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    cached = _load_cached(config, split)
    if cached is not None:
        return cached
    _require_hub()
    try:
        return datasets.load_dataset(WIKITEXT, config, split=split, revision=REVISION)
    except (OSError, ValueError) as error:
        raise _unavailable(str(error)) from error


def _load_cached(config: str, split: str) -> Any | None:
    """The pinned revision from the cache, without a look at the network: what is pinned never changes."""
    import datasets

    with _offline():
        try:
            rows = datasets.load_dataset(WIKITEXT, config, split=split, revision=REVISION)
        except (OSError, ValueError):
            return None
    # offline, `datasets` takes the newest copy in its cache and forgets which revision was asked for
    return rows if all(REVISION in file["filename"] for file in rows.cache_files) else None


@contextmanager
def _offline() -> Iterator[None]:
    """Let `datasets` look only into its cache, quietly: by itself it retries for 24 s where there is no network."""
    import datasets
    import huggingface_hub.constants

    modules: list[Any] = [datasets.config, huggingface_hub.constants]
    before = [module.HF_HUB_OFFLINE for module in modules]
    verbosity = datasets.logging.get_verbosity()
    try:
        for module in modules:
            module.HF_HUB_OFFLINE = True
        datasets.logging.set_verbosity_error()
        yield
    finally:
        for module, value in zip(modules, before, strict=True):
            module.HF_HUB_OFFLINE = value
        datasets.logging.set_verbosity(verbosity)


def _require_hub() -> None:
    """Ask the Hub for the data set's page once. Errors: UserError when nobody answers within seconds."""
    import huggingface_hub.constants as hub

    if hub.HF_HUB_OFFLINE:
        raise _unavailable("HF_HUB_OFFLINE is set and it is not in the cache")
    try:
        urllib.request.urlopen(f"{hub.ENDPOINT}/api/datasets/{WIKITEXT}", timeout=_PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        pass  # somebody is there; let `datasets` make of it what it can
    except OSError as error:
        raise _unavailable(f"the Hub cannot be reached ({error})") from error


def _unavailable(reason: str) -> UserError:
    return UserError(
        "data.corpus",
        f"{WIKITEXT}, which cannot be loaded: {reason}",
        "give the path of a folder or file with text, or data.corpus=synthetic, or run once with a network",
    )
