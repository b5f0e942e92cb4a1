"""`export TRIAL_DIR`: write a finalist's weights with tokenizer and code as a Hugging Face model folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

HELP = "write a trained model as a Hugging Face model folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trial", type=Path, metavar="TRIAL_DIR", help="e.g. results/smoke/finalists/emb45-seed0")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: TRIAL_DIR/export")
    parser.add_argument(
        "--checkpoint",
        choices=("auto", "best", "last"),
        default="auto",
        help="best: lowest loss on the slice of dev; auto (default): best where it was kept, else last",
    )


def run(options: argparse.Namespace, console: Console) -> None:
    from paramalloc.export.card import model_card
    from paramalloc.export.folder import write_folder
    from paramalloc.export.trained import load_trained

    trained = load_trained(options.trial, options.checkpoint)
    out = options.out or trained.folder.export
    write_folder(out, trained.model, trained.tokenizer_file, model_card(trained))
    console.print(
        f"{trained.checkpoint} weights (step {trained.step:,} of {trained.last_step:,}) written to {out}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
