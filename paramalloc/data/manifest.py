"""DATASET_MANIFEST.json: which text a sweep was trained on, down to the SHA-256 of every file.

Always holds: it is a pure function of the text, the settings and the prepared tokens (no times, and no paths but
those that the user gave), so the same input gives the same bytes.

    schema_version
    corpus          data.corpus as given: wikitext-2, wikitext-103, synthetic, or a path
    fingerprint     changes whenever the text or a setting that shapes its documents does
    source
      repository, config, revision   of the Hugging Face hub; null elsewhere
      generator_version              of the built-in corpus; null elsewhere
      licence                        as the source states it, or data.licence; null: nobody said
      files[]                        split, name (below the given path, or in the hub's cache), bytes, sha256
    settings        what shapes the text; null where it does not apply
      documents                      what a document is: article, file or blank_line; each line of a .jsonl is one
      cut_from_train                 held-out splits that the corpus came without
      held_out_fraction, held_out_max_bytes   how much of train each of these took: the fraction, but at most so much
      on_overlap                     drop_train or error
      seed, synthetic_bytes          of the built-in corpus
    splits.<split>  documents, bytes (UTF-8) and sha256 (of the documents in order, a byte 0xFF after each), after
                    `overlap.dropped_documents` were left out of train
    overlap         train_documents compared with dev and test, dropped_documents, shared_texts (lines or whole
                    documents that stand in both), boilerplate_lines (forgiven, as they stand in many documents)
    vocabularies[]
      vocab_size, tokenizer_hash     SHA-256 of the canonical tokenizer.json
      tokenizer_text_bytes           how much of train the tokenizer was trained on
      splits.<split>
        tokens                       of the text
        end_of_text_tokens           one after each training document; none in dev and test
        tokens_per_byte, bytes_per_token
        document_tokens              min, median, p95 and max
        documents_longer_than        by context length of the sweep's models, how many
          histogram                    {n: documents of at most n tokens, but more than the n before}
      folder, files.<name>           where the prepared files lie, and their bytes and sha256
    contamination   evaluation texts met in train, as the check of the probes counted them; null: not looked for
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from paramalloc.config import DataConfig, SweepConfig
from paramalloc.data import hub
from paramalloc.data.corpus import Corpus, TextCorpus
from paramalloc.data.synthetic import GENERATOR_VERSION
from paramalloc.data.token_set import TokenSet, read_lengths, read_meta
from paramalloc.files import atomic_write, write_json
from paramalloc.results import ResultsFolder

SCHEMA_VERSION = 1
BINS_PER_OCTAVE = 4  # powers of two are edges, as most context lengths are
OWN_LICENCE = "MIT"  # of what this program generates


def write_manifest(
    config: SweepConfig,
    corpus: Corpus,
    token_sets: Mapping[int, TokenSet],
    folder: ResultsFolder,
    contamination: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write and return the manifest of what `prepare_all` gave, once each tokenizer lies beside it.

    The copies make the results whole without the cache: `export` and `generate` read them.

    Errors: OSError.
    """
    manifest = make_manifest(config, corpus, token_sets, contamination)
    for vocab_size, tokens in token_sets.items():
        atomic_write(folder.tokenizer(vocab_size), tokens.tokenizer_file.read_bytes())
    write_json(folder.manifest, manifest)
    return manifest


def make_manifest(
    config: SweepConfig,
    corpus: Corpus,
    token_sets: Mapping[int, TokenSet],
    contamination: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of DATASET_MANIFEST.json."""
    metas = {vocab_size: read_meta(tokens) for vocab_size, tokens in token_sets.items()}
    meta = next(iter(metas.values()))  # the text is the same under every vocabulary
    contexts = sorted({variant.model.context_length for variant in config.variants})
    return {
        "schema_version": SCHEMA_VERSION,
        "corpus": corpus.name,
        "fingerprint": corpus.fingerprint(),
        "source": _source(config.data, corpus, meta["hub_files"]),
        "settings": _settings(config.data, corpus),
        "splits": {
            split: {name: numbers[name] for name in ("documents", "bytes", "sha256")}
            for split, numbers in meta["splits"].items()
        },
        "overlap": meta["overlap"],
        "vocabularies": [_vocabulary(config.data, token_sets[size], metas[size], contexts) for size in token_sets],
        "contamination": contamination,
    }


def _source(config: DataConfig, corpus: Corpus, hub_files: list[dict[str, Any]]) -> dict[str, Any]:
    known: dict[str, Any] = dict.fromkeys(("repository", "config", "revision", "generator_version"))
    if corpus.name in hub.WIKITEXT_CONFIGS:
        known["repository"], known["revision"] = hub.WIKITEXT.repository, hub.WIKITEXT.revision
        known["config"] = hub.WIKITEXT_CONFIGS[corpus.name]
        return known | {"licence": hub.WIKITEXT_LICENCE, "files": hub_files}
    if isinstance(corpus, TextCorpus):
        return known | {"licence": config.licence, "files": [asdict(file) for file in corpus.files]}
    known["generator_version"] = GENERATOR_VERSION
    return known | {"licence": OWN_LICENCE, "files": []}


def _settings(config: DataConfig, corpus: Corpus) -> dict[str, Any]:
    names = ("documents", "cut_from_train", "held_out_fraction", "held_out_max_bytes", "seed", "synthetic_bytes")
    known: dict[str, Any] = dict.fromkeys(names) | {"on_overlap": config.on_overlap}
    if not isinstance(corpus, TextCorpus):
        known["held_out_fraction"] = config.held_out_fraction
        return known | {"seed": config.seed, "synthetic_bytes": config.synthetic_bytes}
    known["documents"], known["cut_from_train"] = corpus.grouping, list(corpus.cut_from_train)
    if corpus.cut_from_train:
        known["held_out_fraction"], known["held_out_max_bytes"] = config.held_out_fraction, config.held_out_max_bytes
    return known


def _vocabulary(config: DataConfig, tokens: TokenSet, meta: dict[str, Any], contexts: list[int]) -> dict[str, Any]:
    lengths = read_lengths(tokens)
    return {
        "vocab_size": tokens.vocab_size,
        "tokenizer_hash": tokens.tokenizer_hash,
        "tokenizer_text_bytes": meta["tokenizer_text_bytes"],
        "splits": {
            split: {
                "tokens": numbers["tokens"],
                "end_of_text_tokens": numbers["documents"] if split == "train" else 0,
                "tokens_per_byte": numbers["tokens"] / numbers["bytes"],
                "bytes_per_token": numbers["bytes"] / numbers["tokens"],
                **length_summary(lengths[split], contexts),
            }
            for split, numbers in meta["splits"].items()
        },
        "folder": f"{config.cache_dir}/{tokens.tokenizer_file.parent.name}",
        "files": meta["files"],
    }


def length_summary(lengths: Mapping[int, int], contexts: list[int]) -> dict[str, Any]:
    """What is told about document lengths: `lengths` counts documents by their tokens, from the shortest up."""
    tokens, counts = np.array(list(lengths)), np.array(list(lengths.values()))
    below = np.cumsum(counts)  # documents of at most so many tokens

    def quantile(share: float) -> int:
        return int(tokens[np.searchsorted(below, share * below[-1])])

    return {
        "document_tokens": {
            "min": int(tokens[0]),
            "median": quantile(0.5),
            "p95": quantile(0.95),
            "max": int(tokens[-1]),
        },
        "documents_longer_than": {str(context): int(counts[tokens > context].sum()) for context in contexts},
        "histogram": _histogram(tokens, counts),
    }


def _histogram(tokens: np.ndarray, counts: np.ndarray) -> dict[str, int]:
    """All bins from the shortest document to the longest, after an empty one that shows where the first begins."""
    octaves = int(tokens[-1]).bit_length()
    edges = np.unique(np.rint(2 ** (np.arange(BINS_PER_OCTAVE * octaves + 1) / BINS_PER_OCTAVE)).astype(np.int64))
    edges = np.concatenate([[0], edges])
    bins = np.searchsorted(edges, tokens)
    totals = np.bincount(bins, weights=counts).astype(np.int64)
    return {str(edges[i]): int(totals[i]) for i in range(bins[0] - 1, len(totals))}
