"""Replay stopping rules on recorded learning curves: tokens used, regret, and how often the best run survives.

Arms are drawn at random among runs with the same budget; the first of each draw is the baseline. CURVES is a results
folder (its ranking), or a CSV file with the columns run, tokens or step, ppl or loss, and if there are such: split,
total_tokens or total_steps. The rules' settings default to those that the results were made with, and for a CSV file
to those of a sweep file that says nothing.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from paramalloc.config import RankingConfig
from paramalloc.errors import UserError
from paramalloc.statistics.comparison import EQUIVALENCE_MARGIN

if TYPE_CHECKING:
    from paramalloc.sweep.rules.recorded_curves import RecordedRun, Recording
    from paramalloc.sweep.rules.replay import RuleOf, Summary
    from paramalloc.sweep.rules.stopping import StoppingRule

HELP = "try stopping rules on recorded learning curves"
RULES = ("kill", "asha", "none")
DEFAULT_ARMS = 4
KILLED_WARNING = (
    "warning: of {} killed no curve reaches its end, so the draws lack the runs that a rule stops; a sweep with "
    "ranking.stop: none has them all, and ranking.audit: true has one"
)
_HEADINGS = ("tokens", "stopped", "of them better", "best survives", "as good survives", "regret", "95th percentile")
_ASKED = {
    "draws", "seed", "workers", "split", "tokens_per_step", "budget_tokens", "margin_ppl", "window_tokens",
    "reduction", "first_rung_tokens",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    defaults = RankingConfig()
    positive = _at_least(1)
    parser.add_argument("curves", type=Path, metavar="CURVES", help="a CSV file or a results folder")
    parser.add_argument("--rule", nargs="+", choices=RULES, default=RULES, help="default: all of them")
    parser.add_argument("--arms", type=_at_least(2), help=f"runs in a draw; default {DEFAULT_ARMS}, or all if fewer")
    parser.add_argument("--draws", type=positive, default=1_000, help="default: %(default)s")
    parser.add_argument("--seed", type=_at_least(0), default=0, help="default: %(default)s")
    parser.add_argument("--workers", type=positive, metavar="N", help="runs at a time; default: all of a draw")
    parser.add_argument("--split", default="val", help="rows of a `split` column that count; default: %(default)s")
    tokens = parser.add_mutually_exclusive_group()
    tokens.add_argument("--tokens-per-step", type=positive, metavar="N", help="what a step of the file is")
    help_budget = f"scale every run to this budget; default for files of steps: {defaults.tokens}"
    tokens.add_argument("--budget-tokens", type=positive, metavar="N", help=help_budget)
    rule, own = defaults.kill_rule, "of a results folder its own"
    parser.add_argument("--margin-ppl", type=_positive, help=f"default: {rule.margin_ppl}; {own}")
    parser.add_argument("--window-tokens", type=positive, help=f"default: {rule.window_tokens}; {own}")
    parser.add_argument(
        "--reduction", type=_at_least(2), default=3, help="of asha: one in so many goes on; default: 3"
    )
    parser.add_argument(
        "--first-rung-tokens", type=positive, metavar="N", help="of asha; default: budget/reduction^2"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print everything as JSON")
    form.add_argument("--csv", action="store_true", help="print the table as CSV")


def run(options: argparse.Namespace, console: Console) -> None:
    """Errors: UserError for curves that cannot be read or are too few."""
    from paramalloc.sweep.rules.recorded_curves import TokenScale, read_recording
    from paramalloc.sweep.rules.replay import Summary, draw_arms, replay

    keep = _take_defaults(options)
    scale = TokenScale(options.tokens_per_step, options.budget_tokens)
    recording = read_recording(options.curves, options.split, scale)
    largest = max(len(group) for group in recording.groups)
    arms = options.arms or max(2, min(DEFAULT_ARMS, largest))
    try:
        draws = list(draw_arms(recording, arms, options.draws, options.seed))
    except ValueError as error:
        allowed = f"the largest group of runs with one budget has {largest}, and a draw needs 2: see --arms"
        raise UserError(str(options.curves), str(error), allowed) from error
    rules = _rules(options, keep)
    summaries = [replay(draws, name, rules[name], options.workers) for name in dict.fromkeys(options.rule)]
    if options.json:
        console.file.write(json.dumps(_as_json(summaries, recording, options), indent=2, allow_nan=False) + "\n")
    elif options.csv:
        writer = csv.DictWriter(console.file, [field.name for field in fields(Summary)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(summary) for summary in summaries)
    else:
        _print(summaries, recording, console)


def _take_defaults(options: argparse.Namespace) -> int:
    """Fill in the kill rule's settings that were not given; returns how many trials asha leaves at least."""
    from paramalloc.report.load import load_results
    from paramalloc.results import ResultsFolder

    config = load_results(ResultsFolder(options.curves)).config if options.curves.is_dir() else None
    rule = config.ranking.kill_rule if config else RankingConfig().kill_rule
    for name in ("margin_ppl", "window_tokens"):
        if getattr(options, name) is None:
            setattr(options, name, getattr(rule, name))
    return config.most_promoted + 1 if config else 1


def _rules(options: argparse.Namespace, keep: int) -> dict[str, RuleOf]:
    """Each rule by its name, made for the arms of a draw, of which the first is the baseline.

    `keep`: how many arms asha leaves at least.
    """
    from paramalloc.sweep.rules.asha import SuccessiveHalving, halving_rungs
    from paramalloc.sweep.rules.kill_rule import KillRule
    from paramalloc.sweep.rules.stopping import NeverStop

    def kill(arms: Sequence[RecordedRun], budget_tokens: int) -> StoppingRule:
        baseline_of = {arm.name: arms[0].name for arm in arms[1:]}
        return KillRule(baseline_of, options.margin_ppl, options.window_tokens)

    def asha(arms: Sequence[RecordedRun], budget_tokens: int) -> StoppingRule:
        names = [arm.name for arm in arms]
        rungs = halving_rungs(budget_tokens, options.reduction, options.first_rung_tokens)
        return SuccessiveHalving(names, rungs, options.reduction, keep, protected=names[:1])

    return {"kill": kill, "asha": asha, "none": lambda arms, budget_tokens: NeverStop()}


def _as_json(summaries: Sequence[Summary], recording: Recording, options: argparse.Namespace) -> dict[str, Any]:
    """What was asked, what was found in the curves, and the table."""
    asked = {name: value for name, value in vars(options).items() if name in _ASKED}
    return {
        "curves": str(options.curves),
        **asked,
        "runs": sum(len(group) for group in recording.groups),
        "groups": len(recording.groups),
        "left_out": dict(recording.left_out),
        "rules": [asdict(summary) for summary in summaries],
    }


def _print(summaries: Sequence[Summary], recording: Recording, console: Console) -> None:
    from paramalloc.sweep.rules.recorded_curves import KILLED_EARLY

    runs, groups = sum(len(group) for group in recording.groups), len(recording.groups)
    left_out = "".join(f"; left out: {count} {reason}" for reason, count in recording.left_out.items())
    budgets = sorted({round(budget / 1e6, 2) for budget in recording.budgets_tokens})
    span = f"{budgets[0]:g}M" + (f" to {budgets[-1]:g}M" if len(budgets) > 1 else "")
    first = summaries[0]
    said = [
        f"{runs} runs; groups of equal budget: {groups} ({span} tokens){left_out}",
        f"{first.draws} draws of {first.arms} runs, one of them the baseline\n",
    ]
    if killed := recording.left_out.get(KILLED_EARLY):
        said.insert(1, KILLED_WARNING.format(killed))
    for line in said:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rule", no_wrap=True)
    for heading in _HEADINGS:
        table.add_column(heading, justify="right")
    for item in summaries:
        table.add_row(
            item.rule,
            f"{item.tokens_share:.1%}",
            f"{item.stopped_per_draw:.2f}",
            "-" if item.stopped_better is None else f"{item.stopped_better:.1%}",
            f"{item.best_survives:.1%}",
            f"{item.as_good_survives:.1%}",
            *("-" if share is None else f"{share:.2%}" for share in (item.mean_regret, item.regret_95)),
        )
    console.print(table)
    for line in (
        "\nof them better: stopped runs that end below the baseline's perplexity",
        f"as good: within {EQUIVALENCE_MARGIN:.1%} of the best run's final perplexity",
        "regret: the best survivor's final perplexity over the best run's, less 1: mean and 95th percentile",
    ):
        console.print(line, highlight=False, soft_wrap=True)


def _at_least(least: int) -> Callable[[str], int]:
    def whole_number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"got {text}; allowed are whole numbers from {least} on")
        return value

    return whole_number


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"got {text}; allowed are numbers above 0")
    return value
