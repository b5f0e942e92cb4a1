"""Data sets of the Hugging Face hub at a pinned revision, through `datasets`.

Always holds: a cached copy of exactly that revision is taken without a look at the network; without either the error
comes within seconds, with advice; nothing is imported or fetched before `load`, and no telemetry is sent.

    PinnedDataset("nyu-mll/glue", "bcdcba79…", "data.corpus", "give a folder").load("rte", "validation")
    require_parts([Part(WIKITEXT, "wikitext-2-raw-v1", "train"), Part(GLUE, "rte", "validation")])
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
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
        cached = self.cached(config, split)
        if cached is not None:
            return cached
        if problem := _hub_problem(self.repository):
            raise _unavailable([self], problem)
        try:
            return datasets.load_dataset(self.repository, config, split=split, revision=self.revision)
        except (OSError, ValueError) as error:
            raise _unavailable([self], str(error)) from error

    def cached(self, config: str, split: str) -> Any | None:
        """The pinned revision from the cache, without a look at the network: what is pinned never changes."""
        datasets = import_datasets()
        with _offline():
            try:
                rows = datasets.load_dataset(self.repository, config, split=split, revision=self.revision)
            except (OSError, ValueError):
                return None
        # offline, `datasets` takes the newest copy in its cache and forgets which revision was asked for
        return rows if all(self.revision in file["filename"] for file in rows.cache_files) else None


@dataclass(frozen=True)
class Part:
    """What is read of a data set."""

    of: PinnedDataset
    config: str
    split: str


def require_parts(parts: Iterable[Part]) -> None:
    """See that all of these can be had before any is loaded: from the cache, or from a Hub that answers.

    Errors: UserError that names all data sets that cannot, and what to do for each.
    """
    missing: list[PinnedDataset] = []
    for part in parts:
        if part.of not in missing and part.of.cached(part.config, part.split) is None:
            missing.append(part.of)
    if missing and (problem := _hub_problem(missing[0].repository)):
        raise _unavailable(missing, problem)


def _hub_problem(repository: str) -> str | None:
    """Ask the Hub for a data set's page once; why it is no use, in words, when nobody answers within seconds."""
    import huggingface_hub.constants as hub

    if hub.HF_HUB_OFFLINE or import_datasets().config.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE or HF_DATASETS_OFFLINE is set and it is not in the cache"
    try:
        urllib.request.urlopen(f"{hub.ENDPOINT}/api/datasets/{repository}", timeout=_PROBE_SECONDS).close()
    except urllib.error.HTTPError:
        return None  # somebody is there; let `datasets` make of it what it can
    except OSError as error:
        return f"the Hub cannot be reached ({error})"
    return None


def _unavailable(datasets: Sequence[PinnedDataset], reason: str) -> UserError:
    places, advice = ({getattr(each, field): None for each in datasets} for field in ("place", "advice"))
    repositories = ", ".join(each.repository for each in datasets)
    todo = f"run once with a network, or {', and '.join(advice)}"
    return UserError(" and ".join(places), f"{repositories}, which cannot be loaded: {reason}", todo)


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
