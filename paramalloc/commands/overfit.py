"""`overfit SWEEP.yaml`: can a variant memorize a thousand tokens of the training text? If not, what is likely wrong.

Exit code 1 when it cannot. Results: sanity/overfit-<variant>.json and a figure in the sweep's results folder.
"""

from __future__ import annotations

import argparse

from rich.console import Console

from paramalloc.commands.checks import add_arguments, run_checks

__all__ = ["HELP", "add_arguments", "run"]

HELP = "check that a model can memorize a little text, or say what is likely wrong with it"


def run(options: argparse.Namespace, console: Console) -> int:
    from paramalloc.sweep.runbook.sanity import OVERFIT

    return run_checks(options, console, OVERFIT)
