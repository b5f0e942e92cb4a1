"""What `overfit` and `lr-find` have in common: choose variants, check each, write JSON and figures, tell the outcome.

Always holds: the checks, and the files they leave, are those of a sweep's sanity stage, so a check that passed here
counts there unless its settings differ; the variants that are not asked for stay as they were; the exit code is 1
when a check failed, which is told like any other outcome.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from paramalloc.commands.same_experiment import require_same_checks, require_same_text
from paramalloc.errors import UserError
from paramalloc.results import ResultsFolder

if TYPE_CHECKING:
    from paramalloc.config import ResourcesConfig
    from paramalloc.plan import Plan, VariantPlan
    from paramalloc.sweep.runbook.sanity import Check, Kind
    from paramalloc.sweep.trials.work import SweepData

EXIT_CHECK_FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", type=Path, metavar="SWEEP.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override a value of the file")
    parser.add_argument("--results", type=Path, metavar="DIR", help="default: results/<name of the sweep>")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--variant", nargs="+", metavar="NAME", help="check these; default: the baseline")
    which.add_argument("--all", action="store_true", help="check every variant")


def run_checks(options: argparse.Namespace, console: Console, kind: Kind) -> int:
    """Check the chosen variants one after another. Returns the exit code. Errors: UserError, OSError."""
    from paramalloc.allocation import print_param_table
    from paramalloc.files import write_json
    from paramalloc.report.figures.sanity import draw_sanity_figures
    from paramalloc.sweep.runbook.plan_so_far import plan_so_far
    from paramalloc.sweep.runbook.sanity import check_of
    from paramalloc.sweep_file import load_sweep

    config = load_sweep(options.sweep, options.set)
    folder = ResultsFolder(options.results or Path("results") / config.name)
    plan = plan_so_far(config, folder)
    checks = [check_of(kind, item) for item in _chosen(plan, options)]
    require_same_text(config, folder)
    require_same_checks(checks, folder)
    print_param_table({check.variant: check.run.shape for check in checks}, console)
    data = _load_data(plan, checks, console)
    all_passed = True
    for check in checks:
        result, file = _try_out(check, data, config.resources, console), check.file(folder)
        write_json(file, result)
        _say(console, f"{result['message']}\n  {file}")
        all_passed &= result["passed"]
    drawn = draw_sanity_figures(folder, [item.name for item in plan.variants])
    if kind in drawn:
        _say(console, f"figure: {folder.figures / drawn[kind]}.png")
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


def _load_data(plan: Plan, checks: list[Check], console: Console) -> SweepData:
    """The text under the vocabularies that are needed; the baseline's is, as it is what a sweep measures text in."""
    from paramalloc.data.prepare import prepare_all
    from paramalloc.data.progress import bars_on
    from paramalloc.sweep.trials.work import make_sweep_data

    baseline_vocab = plan.baseline.shape.vocab_size
    vocab_sizes = dict.fromkeys([baseline_vocab, *(check.run.shape.vocab_size for check in checks)])
    token_sets = prepare_all(plan.config.data, vocab_sizes, partial(_say, console), bars_on(console))
    return make_sweep_data(token_sets, baseline_vocab, plan.config.ranking.eval_interval_tokens)


def _try_out(check: Check, data: SweepData, resources: ResourcesConfig, console: Console) -> dict[str, Any]:
    """The content of the check's JSON file."""
    import torch

    from paramalloc.numerics import choose_numerics
    from paramalloc.sweep.trials.work import run_check

    device = torch.device("cuda" if resources.gpus_per_trial and torch.cuda.is_available() else "cpu")
    numerics = choose_numerics(check.run.training.precision, device)
    with console.status(f"{check.variant}: preparing") as status:

        def show(step: int, loss: float) -> None:
            status.update(f"{check.variant}: step {step}, loss {loss:.3f}")

        return run_check(check, data, numerics, show)


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
