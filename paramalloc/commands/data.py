"""`data prepare SWEEP.yaml`: fetch and tokenize the text of a sweep, and write DATASET_MANIFEST.json."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from paramalloc.commands.same_experiment import require_same_text
from paramalloc.results import ResultsFolder

HELP = "prepare the text of a sweep: fetch, tokenize, describe"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    prepare = actions.add_parser("prepare", help="fetch and tokenize the text of a sweep", description=__doc__)
    prepare.add_argument("sweep", type=Path, metavar="SWEEP.yaml")
    prepare.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override a value of the file")
    prepare.add_argument("--results", type=Path, metavar="DIR", help="default: results/<name of the sweep>")
    prepare.add_argument(
        "--verify", action="store_true", help="read what is prepared already, and build again what is damaged"
    )


def run(options: argparse.Namespace, console: Console) -> None:
    from paramalloc.data.corpus import open_corpus
    from paramalloc.data.manifest import write_manifest
    from paramalloc.data.prepare import prepare_all
    from paramalloc.data.progress import bars_on
    from paramalloc.report.figures.token_lengths import NAME, write_token_lengths
    from paramalloc.sweep.trials.probes import require_sources, sweep_probes
    from paramalloc.sweep_file import load_sweep

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    config = load_sweep(options.sweep, options.set)
    folder = ResultsFolder(options.results or Path("results") / config.name)
    require_same_text(config, folder)
    vocab_sizes = dict.fromkeys(variant.model.vocab_size for variant in config.variants)
    corpus = open_corpus(config.data)
    require_sources(config, corpus, vocab_sizes)
    _, searched = sweep_probes(config, corpus, say)
    token_sets = prepare_all(config.data, vocab_sizes, say, bars_on(console), options.verify, corpus)
    manifest = write_manifest(config, corpus, token_sets, folder, searched)
    write_token_lengths(folder)
    console.print()
    print_summary(manifest, console)
    say(f"manifest: {folder.manifest}\nfigure: {folder.figures / NAME}.png")


def print_summary(manifest: Mapping[str, Any], console: Console) -> None:
    """The manifest for a person: where the text comes from, and how much of it each split has."""
    licence = manifest["source"]["licence"] or "unknown (data.licence states it)"
    console.print(f"[bold]{manifest['corpus']}[/], licence: {licence}", highlight=False, soft_wrap=True)
    console.print(_splits_table(manifest))
    overlap = manifest["overlap"]
    console.print(
        f"left out of train: {overlap['dropped_documents']:,} of {overlap['train_documents']:,} documents, with "
        f"{overlap['shared_texts']:,} texts that are in dev or test as well",
        highlight=False,
        soft_wrap=True,
    )


def _splits_table(manifest: Mapping[str, Any]) -> Table:
    """A row for each split under each vocabulary; lengths are those of documents, in tokens."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    headers = ("vocabulary", "split", "documents", "MB", "tokens", "bytes/token", "median", "longest")
    for header in headers:
        table.add_column(header, justify="left" if header == "split" else "right")
    for vocabulary in manifest["vocabularies"]:
        for split, size in manifest["splits"].items():
            numbers = vocabulary["splits"][split]
            lengths = numbers["document_tokens"]
            table.add_row(
                f"{vocabulary['vocab_size']:,}" if split == "train" else "",
                split,
                f"{size['documents']:,}",
                f"{size['bytes'] / 1e6:,.2f}",
                f"{numbers['tokens']:,}",
                f"{numbers['bytes_per_token']:.2f}",
                f"{lengths['median']:,}",
                f"{lengths['max']:,}",
            )
    return table
