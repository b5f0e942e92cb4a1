"""The SmallBench probes of a sweep: loaded, looked for in the training text, and drawn from what was not found there.

Always holds: the same text, probes and settings give the same draw on every machine; the search through the text is
done once and kept in the cache.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from paramalloc.config import DataConfig, SmallBenchConfig, SweepConfig
from paramalloc.data.contamination import (
    Contamination,
    count_by_task,
    drop_contaminated,
    find_contamination,
    probe_texts,
)
from paramalloc.data.corpus import Corpus
from paramalloc.data.hub import WIKITEXT_CONFIGS, wikitext_parts
from paramalloc.data.hub_probes import PARTS
from paramalloc.data.pinned import Part, require_parts
from paramalloc.data.prepare import cached
from paramalloc.data.probes import ProbeTask
from paramalloc.data.synthetic_probes import synthetic_tasks
from paramalloc.evaluation.smallbench.loading import HUB, draw, load_tasks
from paramalloc.files import read_json, write_json

METRIC = "smallbench_accuracy"
SYNTHETIC = "synthetic"
_SEARCHED = "contamination-"  # files of the cache: which probes were found in a text
_SPARE_PROBES = 1.2  # times as many synthetic ones as are drawn, should some be found in the text


def sweep_probes(
    config: SweepConfig, corpus: Corpus, notify: Callable[[str], None]
) -> tuple[tuple[ProbeTask, ...], Any]:
    """The probes to score, and the manifest's section on their search in the training text; nothing and None if the
    sweep does not ask for them.

    Errors: UserError for a source that is missing, unreachable or malformed.
    """
    if METRIC not in config.evaluation.metrics:
        return (), None
    settings = config.evaluation.smallbench
    tasks = _load(settings, corpus)
    found = _contamination(config.data, corpus, tasks, notify)
    drawn = tuple(draw(task, settings.examples, settings.seed) for task in drop_contaminated(tasks, found))
    section = {
        "source": source_of(settings, corpus),
        "boilerplate_ngrams": found.boilerplate_ngrams,
        "tasks": {
            task.name: counts | {"drawn": len(task.probes)}
            for task, counts in zip(drawn, count_by_task(tasks, found).values(), strict=True)
        },
    }
    return drawn, section


def require_sources(config: SweepConfig, corpus: Corpus, vocab_sizes: Iterable[int]) -> None:
    """See that text and probes of the Hub can be had, before anything is begun.

    Errors: UserError that names all that cannot.
    """
    parts: list[Part] = []
    probed = METRIC in config.evaluation.metrics
    if corpus.name in WIKITEXT_CONFIGS and not _is_prepared(config, vocab_sizes, probed):
        parts += wikitext_parts(corpus.name)
    if probed and source_of(config.evaluation.smallbench, corpus) == HUB:
        parts += PARTS
    require_parts(parts)


def _is_prepared(config: SweepConfig, vocab_sizes: Iterable[int], probed: bool) -> bool:
    """Whether the text is not read any more: its tokens are in the cache, and probes were looked for in a text."""
    searched = not probed or any(Path(config.data.cache_dir).expanduser().glob(f"{_SEARCHED}*.json"))
    return searched and all(cached(config.data, size) for size in vocab_sizes)


def source_of(settings: SmallBenchConfig, corpus: Corpus) -> str:
    if settings.source != "auto":
        return settings.source
    return SYNTHETIC if corpus.name == SYNTHETIC else HUB


def _load(settings: SmallBenchConfig, corpus: Corpus) -> tuple[ProbeTask, ...]:
    source = source_of(settings, corpus)
    if source == SYNTHETIC:
        return synthetic_tasks(round(_SPARE_PROBES * settings.examples), settings.seed)
    return load_tasks(source)


def _contamination(
    config: DataConfig, corpus: Corpus, tasks: tuple[ProbeTask, ...], notify: Callable[[str], None]
) -> Contamination:
    texts = probe_texts(tasks)
    key = hashlib.sha256(json.dumps([corpus.fingerprint(), sorted(texts.items())]).encode()).hexdigest()
    path = Path(config.cache_dir).expanduser() / f"{_SEARCHED}{key[:32]}.json"
    if path.exists():
        known = read_json(path)
        return Contamination(frozenset(known["exact"]), frozenset(known["ngram"]), known["boilerplate_ngrams"])
    begun = time.perf_counter()
    found = find_contamination(texts, corpus.documents("train"))
    notify(
        f"looking for the text of {len(texts):,} SmallBench examples in train: {len(found.dropped):,} found and left "
        f"out in {time.perf_counter() - begun:.1f} s"
    )
    content = {"exact": sorted(found.exact), "ngram": sorted(found.ngram)}
    write_json(path, content | {"boilerplate_ngrams": found.boilerplate_ngrams})
    return found
