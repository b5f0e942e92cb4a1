"""What `overfit` and `lr-find` have in common: choose variants, check each, write JSON and figures, tell the outcome.

Always holds: the variants of the sweep file that are not asked for stay as they were; the exit code is 1 when a check
failed, which is told like any other outcome.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from paramalloc.errors import UserError
from paramalloc.results import ResultsFolder

if TYPE_CHECKING:
    import numpy as np

    from paramalloc.config import ResourcesConfig
    from paramalloc.plan import Plan, VariantPlan
    from paramalloc.training.lr_find import LrFindResult
    from paramalloc.training.overfit import OverfitResult

EXIT_CHECK_FAILED = 1
Check = Callable[..., "OverfitResult | LrFindResult"]
FileOf = Callable[[ResultsFolder, str], Path]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", type=Path, metavar="SWEEP.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override a value of the file")
    parser.add_argument("--results", type=Path, metavar="DIR", help="default: results/<name of the sweep>")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--variant", nargs="+", metavar="NAME", help="check these; default: the baseline")
    which.add_argument("--all", action="store_true", help="check every variant")


def run_checks(
    options: argparse.Namespace,
    console: Console,
    check: Check,
    file_of: FileOf,
) -> int:
    """Check the chosen variants one after another. Returns the exit code. Errors: UserError, OSError."""
    from paramalloc.allocation import print_param_table
    from paramalloc.data.prepare import prepare_all
    from paramalloc.data.progress import bars_on
    from paramalloc.files import write_json
    from paramalloc.plan import make_plan
    from paramalloc.report.sanity_figures import draw_sanity_figures
    from paramalloc.sweep.metrics import config_hash
    from paramalloc.sweep_file import load_sweep

    config = load_sweep(options.sweep, options.set)
    plan = make_plan(config)
    chosen = _chosen(plan, options)
    folder = ResultsFolder(options.results or Path("results") / config.name)
    print_param_table({item.name: item.shape for item in chosen}, console)
    vocab_sizes = dict.fromkeys(item.shape.vocab_size for item in chosen)
    tokens = prepare_all(config.data, vocab_sizes, partial(_say, console), bars_on(console))
    all_passed = True
    for item in chosen:
        file = file_of(folder, item.name)
        outcome = _check(check, item, tokens[item.shape.vocab_size].train, config.resources, console)
        write_json(file, outcome | {"config_hash": config_hash(config, item)})
        _say(console, f"{outcome['message']}\n  {file}")
        all_passed &= outcome["passed"]
    for name in draw_sanity_figures(folder, [item.name for item in plan.variants]):
        _say(console, f"figure: {folder.figures / name}.png")
    return 0 if all_passed else EXIT_CHECK_FAILED


def _chosen(plan: Plan, options: argparse.Namespace) -> list[VariantPlan]:
    """The variants that are asked for, in the order of the plan. Errors: UserError for an unknown name."""
    if options.all:
        return list(plan.variants)
    names = [item.name for item in plan.variants]
    asked = options.variant or [plan.baseline.name]
    for name in asked:
        if name not in names:
            raise UserError("--variant", f"'{name}'", f"allowed: {', '.join(names)}")
    return [item for item in plan.variants if item.name in asked]


def _check(
    check: Check, item: VariantPlan, tokens: np.ndarray, resources: ResourcesConfig, console: Console
) -> dict[str, Any]:
    """The content of the check's JSON file."""
    import torch

    from paramalloc.numerics import choose_numerics

    training = item.variant.training
    device = torch.device("cuda" if resources.gpus_per_trial and torch.cuda.is_available() else "cpu")
    numerics = choose_numerics(training.precision, device)
    with console.status(f"{item.name}: preparing") as status:

        def show(step: int, loss: float) -> None:
            status.update(f"{item.name}: step {step}, loss {loss:.3f}")

        result = check(item.shape, training, tokens, numerics, training.seed, show).as_json()
    return result | {"variant": item.name, "message": f"{item.name}: {result['message']}"}


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
