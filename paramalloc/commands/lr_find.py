"""`lr-find SWEEP.yaml`: learning-rate range test, with a curve, a suggestion and its reason, for each chosen variant.

Exit code 1 when no rate lowered the loss. Results: sanity/lr_find-<variant>.json and a figure in the results folder.
"""

from __future__ import annotations

import argparse

from rich.console import Console

from paramalloc.commands.checks import add_arguments, run_checks

__all__ = ["HELP", "add_arguments", "run"]

HELP = "find a learning rate for a variant by a range test"


def run(options: argparse.Namespace, console: Console) -> int:
    from paramalloc.sweep.runbook.sanity import LR_FIND

    return run_checks(options, console, LR_FIND)
