"""Data sets of the Hugging Face hub at a pinned revision, through `datasets`.

Always holds: a cached copy of exactly that revision is taken without a look at the network; without either the error
comes within seconds, with advice; nothing is imported or fetched before `load`, and no telemetry is sent.

    PinnedDataset("nyu-mll/glue", "bcdcba79…", "data.corpus", "give a folder").load("rte", "validation")
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from paramalloc.errors import UserError

_PROBE_SECONDS = 5.0


def import_datasets() -> Any:
    """`datasets` without its telemetry, which reports even the loading of local files; takes 1-2 s the first time."""
    import datasets
    import huggingface_hub.constants
    import huggingface_hub.utils

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
        huggingface_hub.utils.disable_progress_bars()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY = True
    return datasets


@dataclass(frozen=True)
class PinnedDataset:
    """One repository at one commit; `place` and `advice` are what its errors name and recommend."""

    repository: str
    revision: str
    place: str
    advice: str

    def load(self, config: str, split: str) -> Any:
        """A `datasets.Dataset`. Errors: UserError if it is neither in the cache nor to be had."""
        datasets = import_datasets()
        cached = self._load_cached(config, split)
        if cached is not None:
            return cached
        self._require_hub()
        try:
            return datasets.load_dataset(self.repository, config, split=split, revision=self.revision)
        except (OSError, ValueError) as error:
            raise self._unavailable(str(error)) from error

    def _load_cached(self, config: str, split: str) -> Any | None:
        """The pinned revision from the cache, without a look at the network: what is pinned never changes."""
        datasets = import_datasets()
        with _offline():
            try:
                rows = datasets.load_dataset(self.repository, config, split=split, revision=self.revision)
            except (OSError, ValueError):
                return None
        # offline, `datasets` takes the newest copy in its cache and forgets which revision was asked for
        return rows if all(self.revision in file["filename"] for file in rows.cache_files) else None

    def _require_hub(self) -> None:
        """Ask the Hub for the data set's page once. Errors: UserError when nobody answers within seconds."""
        import huggingface_hub.constants as hub

        if hub.HF_HUB_OFFLINE:
            raise self._unavailable("HF_HUB_OFFLINE is set and it is not in the cache")
        try:
            urllib.request.urlopen(f"{hub.ENDPOINT}/api/datasets/{self.repository}", timeout=_PROBE_SECONDS).close()
        except urllib.error.HTTPError:
            pass  # somebody is there; let `datasets` make of it what it can
        except OSError as error:
            raise self._unavailable(f"the Hub cannot be reached ({error})") from error

    def _unavailable(self, reason: str) -> UserError:
        return UserError(self.place, f"{self.repository}, which cannot be loaded: {reason}", self.advice)


@contextmanager
def _offline() -> Iterator[None]:
    """Let `datasets` look only into its cache, quietly: by itself it retries for 24 s where there is no network."""
    import huggingface_hub.constants

    datasets = import_datasets()
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
