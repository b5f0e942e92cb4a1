"""The report's sections on what came before the ranking: the checks of the sanity stage, and the text.

Always holds: a section is there only where its files are; what the checks say stands in their own words.
"""

from __future__ import annotations

from paramalloc.formats import listed, percent, significant, whole
from paramalloc.report.blocks import bullets, markdown_table
from paramalloc.report.load import Json, SweepResults


def sanity_section(results: SweepResults, gallery: str) -> list[str]:
    """Heading, what each check found, and the figures; nothing where nothing was checked."""
    said = [
        check["message"] if check["passed"] else f"**failed:** {check['message']}"
        for by_variant in results.checks.values()
        for check in by_variant.values()
    ]
    return ["## Sanity", bullets(said), gallery] if said else []


def data_section(manifest: Json | None, gallery: str) -> list[str]:
    """Heading, where the text comes from, its size by split, and the figure; nothing without a manifest."""
    return ["## Data", _source(manifest), _sizes(manifest), gallery] if manifest else []


def _source(manifest: Json) -> str:
    source, overlap = manifest["source"], manifest["overlap"]
    about = f"licence {source['licence'] or 'unknown'}"
    if source["repository"]:
        about = f"{source['repository']} at revision {source['revision'][:12]}; {about}"
    dropped = "No training document held text of dev or test."
    if overlap["dropped_documents"]:
        share = percent(overlap["dropped_documents"] / overlap["train_documents"])
        dropped = f"{whole(overlap['dropped_documents'])} training documents ({share}) held text of dev or test and "
        dropped += "were left out."
    return f"{manifest['corpus']} ({about}). {dropped} Of the training documents {listed(_longer(manifest))}."


def _longer(manifest: Json) -> list[str]:
    """How many training documents no context holds whole, by context length and for up to two vocabularies."""
    documents, vocabularies = manifest["splits"]["train"]["documents"], manifest["vocabularies"]
    shown = vocabularies if len(vocabularies) <= 2 else vocabularies[:1]  # the baseline's stands for many
    return [
        f"{percent(count / documents)} are longer than a context of {whole(int(context))} tokens"
        + (f" at a vocabulary of {whole(vocabulary['vocab_size'])}" if len(vocabularies) > 1 else "")
        for vocabulary in shown
        for context, count in vocabulary["splits"]["train"]["documents_longer_than"].items()
    ]


def _sizes(manifest: Json) -> str:
    """A row for each split under each vocabulary."""
    heads = ["split", "vocabulary", "documents", "MB", "tokens", "bytes per token", "median document, tokens"]
    rows = [
        [
            split,
            whole(vocabulary["vocab_size"]),
            whole(size["documents"]),
            f"{size['bytes'] / 1e6:,.2f}",
            whole(vocabulary["splits"][split]["tokens"]),
            significant(vocabulary["splits"][split]["bytes_per_token"], 3),
            whole(vocabulary["splits"][split]["document_tokens"]["median"]),
        ]
        for vocabulary in manifest["vocabularies"]
        for split, size in manifest["splits"].items()
    ]
    return markdown_table(heads, rows, left=1)
