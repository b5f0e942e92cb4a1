"""`generate TRIAL_DIR`: print a sample of what a finalist writes, until end-of-text or the end of its context.

Runs on the CPU in fp32; the same seed gives the same sample.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from paramalloc.errors import UserError

if TYPE_CHECKING:
    from paramalloc.export.trained import TrainedModel

HELP = "print a sample of a trained model's text"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("trial", type=Path, metavar="TRIAL_DIR", help="e.g. results/smoke/finalists/emb45-seed0")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="default: none, the beginning of a document")
    parser.add_argument("--tokens", type=int, default=100, metavar="N", help="at most so many (default 100)")
    parser.add_argument("--temperature", type=float, default=0.8, metavar="T", help="0: the likeliest (default 0.8)")
    parser.add_argument("--top-k", type=int, default=50, metavar="K", help="draw from the K likeliest (default 50)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="default 0")


def run(options: argparse.Namespace, console: Console) -> None:
    from paramalloc.data.tokenizer import END_OF_TEXT_ID, load_tokenizer
    from paramalloc.export.trained import load_trained
    from paramalloc.generation import Sampling, generate

    _check(options)
    trained = load_trained(options.trial)
    tokenizer = load_tokenizer(trained.tokenizer_file)
    prompt = [END_OF_TEXT_ID, *tokenizer.encode(options.prompt).ids]  # as every document began in training
    _require_fitting(prompt, trained)
    sampling = Sampling(options.temperature, options.top_k, options.seed)
    made = generate(trained.model, prompt, options.tokens, sampling, END_OF_TEXT_ID)
    text = tokenizer.decode([*prompt[1:], *made.tokens])  # together, as a character may lie across both
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    note = f"{len(made.tokens)} tokens, {made.ended}; {trained.checkpoint} weights (step {trained.step:,})"
    console.print(f"\n[{note}]", style="dim", markup=False, highlight=False, soft_wrap=True)


def _check(options: argparse.Namespace) -> None:
    """Errors: UserError for a number out of range."""
    for option, value, least in (("--tokens", options.tokens, 1), ("--top-k", options.top_k, 1)):
        if value < least:
            raise UserError(option, f"{value}", f"allowed: {least} or more")
    if not (math.isfinite(options.temperature) and options.temperature >= 0):
        raise UserError("--temperature", f"{options.temperature}", "allowed: 0 or more")
    if not 0 <= options.seed < 2**63:
        raise UserError("--seed", f"{options.seed}", "allowed: 0 to 2^63 - 1")


def _require_fitting(prompt: list[int], trained: TrainedModel) -> None:
    most = trained.model.shape.context_length
    if len(prompt) > most:
        raise UserError(
            "--prompt", f"{len(prompt) - 1} tokens in a context of {most}", f"give at most {most - 1} tokens"
        )
