"""`fetch s3://BUCKET/PREFIX/SWEEP`: bring a sweep's results from storage to this machine, also while it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

HELP = "bring the results of a sweep from storage"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="s3://BUCKET/PREFIX/SWEEP")
    parser.add_argument("--to", type=Path, metavar="DIR", help="default: results/SWEEP")
    parser.add_argument("--checkpoints", action="store_true", help="with the weights, which `export` needs")


def run(options: argparse.Namespace, console: Console) -> None:
    to = fetch_results(options.address, options.to, options.checkpoints)
    console.print(f"fetched to {to}", highlight=False, soft_wrap=True)


def fetch_results(address: str, to: Path | None = None, checkpoints: bool = False) -> Path:
    """Bring what is stored at an address to a folder, by default `results/<its last part>`; returns the folder.

    Errors: UserError when nothing is there, or the folder has other results or a driver; StorageError.
    """
    from paramalloc.storage.session import fetch

    folder = to or Path("results") / address.rstrip("/").rsplit("/", 1)[-1]
    fetch(address, folder, whole=checkpoints)
    return folder
