"""What the kill rule saves and loses: tokens against running all and against ASHA, and whether the same variant wins.

    python -m benchmarks.kill_rule                  # trains the rankings of sweeps/smoke.yaml whole, with three seeds
    python -m benchmarks.kill_rule results/embed    # curves that are there; best of a sweep with `ranking.stop: none`

Always holds: every rule judges the same whole curves, each stage by itself and in the order of its sweep, on a
virtual clock with as many trials at a time as there are slots (`paramalloc.sweep.rules.replay`); a trial that a sweep
stopped has no whole curve and is left out, which is said.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

from benchmarks.bare import BareRun, load_data, train_bare, whole_ranking
from benchmarks.common import argument_parser, pin_threads, print_figures, print_table, ratio_vs_best_peer
from paramalloc.config import SweepConfig
from paramalloc.errors import EXIT_USER_ERROR, UserError
from paramalloc.results import JUDGED_BY, ResultsFolder
from paramalloc.sweep.rules.asha import REDUCTION, SuccessiveHalving, halving_rungs
from paramalloc.sweep.rules.kill_rule import KillRule
from paramalloc.sweep.rules.recorded_curves import RecordedRun, TokenScale, read_recording
from paramalloc.sweep.rules.replay import Outcome, judge
from paramalloc.sweep.rules.stopping import NeverStop, StoppingRule
from paramalloc.sweep_file import load_sweep

RULES = ("kill", "asha", "none")
SMOKE = Path("sweeps/smoke.yaml")
SEEDS, QUICK_SEEDS = (0, 1, 2), (0,)
# A third of the demo's ranking, its intervals and window shortened alike.
QUICK = (
    "ranking.tokens=100_000",
    "ranking.eval_interval_tokens=8_000",
    "ranking.kill_rule.window_tokens=58_000",
)


@dataclass(frozen=True)
class Contest:
    """One ranking: its trials with whole curves, the baseline first, and the sweep that its rules are from."""

    name: str
    arms: tuple[RecordedRun, ...]
    config: SweepConfig


def main(arguments: list[str] | None = None) -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("results", type=Path, nargs="*", metavar="RESULTS", help="folders of finished sweeps")
    parser.add_argument(
        "--sweep", type=Path, default=SMOKE, help="what to train without RESULTS; default: %(default)s"
    )
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override a value of that file")
    options = parser.parse_args(arguments)
    pin_threads(1)  # each trial has a core
    console = Console()
    try:
        if options.results:
            contests = [contest for path in options.results for contest in recorded(path, console)]
        else:
            overrides = [*QUICK, *options.set] if options.quick else options.set
            contests = trained(options.sweep, overrides, QUICK_SEEDS if options.quick else SEEDS, options.threads)
    except (UserError, OSError) as error:
        sys.stderr.write(f"benchmarks.kill_rule: {error}\n")
        return EXIT_USER_ERROR
    outcomes = {rule: [judge(item.arms, _rule(rule, item), options.threads) for item in contests] for rule in RULES}
    _print(console, contests, outcomes)
    print_figures("kill_rule", figures(outcomes), options)
    return 0


def recorded(path: Path, console: Console) -> list[Contest]:
    """The rankings of a results folder. Errors: UserError when there is none with two whole curves and a baseline."""
    config, recording = load_sweep(ResultsFolder(path).sweep), read_recording(path, "val", TokenScale())
    for reason, count in recording.left_out.items():
        console.print(f"{path}: left out: {count} {reason}", highlight=False, soft_wrap=True)
    contests = []
    for number, runs in enumerate(recording.groups):
        first = next((run for run in runs if run.name in recording.baselines), None)
        if first and len(runs) > 1:
            arms = (first, *(run for run in runs if run is not first))
            contests.append(Contest(f"{config.name} {config.stage_names[number]}", arms, config))
    if not contests:
        raise UserError(str(path), "no ranking with two whole curves", "a sweep with `ranking.stop: none` has them")
    return contests


def trained(sweep: Path, overrides: Sequence[str], seeds: Sequence[int], slots: int) -> list[Contest]:
    """The rankings of a sweep file, trained here from each seed with nobody stopped."""
    config = load_sweep(sweep, overrides)
    plans = {seed: whole_ranking(config, seed) for seed in seeds}
    data = load_data(plans[seeds[0]][0])
    jobs = [job for _, jobs in plans.values() for job in jobs]
    runs, _ = train_bare(jobs, data, config.evaluation.model_copy(update={"latency_runs": 0}), slots)
    contests = []
    for seed, (plan, _) in plans.items():
        for stage in plan.stages:
            own = [run for run in runs if (run.job.task.stage, run.job.task.seed) == (stage.name, seed)]
            own.sort(key=lambda run: not run.job.task.is_baseline)
            contests.append(Contest(f"{config.name} {stage.name}, seed {seed}", tuple(map(_curve, own)), config))
    return contests


def _curve(run: BareRun) -> RecordedRun:
    return RecordedRun(run.job.task.name, tuple((int(row["tokens"]), float(row[JUDGED_BY])) for row in run.rows))


def _rule(name: str, contest: Contest) -> StoppingRule:
    """A rule as the contest's sweep file has it; the shipped defaults where it does not say."""
    names, ranking = [arm.name for arm in contest.arms], contest.config.ranking
    if name == "kill":
        baseline_of = dict.fromkeys(names[1:], names[0])
        return KillRule(baseline_of, ranking.kill_rule.margin_ppl, ranking.kill_rule.window_tokens)
    if name == "asha":
        rungs, keep = halving_rungs(ranking.tokens, REDUCTION), contest.config.most_promoted + 1
        return SuccessiveHalving(names, rungs, keep=keep, protected=names[:1])
    return NeverStop()


def figures(outcomes: dict[str, list[Outcome]]) -> dict[str, Any]:
    """By rule: share of all tokens, stopped trials, how often the winner is that of running all, mean regret.

    `ratio_vs_best_peer`: how many times as many tokens ASHA trains as the kill rule; below 1 ASHA is thriftier.
    """
    found = {rule: _figures_of(of_rule) for rule, of_rule in outcomes.items()}
    shares = {rule: item["tokens_share"] for rule, item in found.items()}
    ratio = ratio_vs_best_peer(shares["kill"], [shares["asha"]], higher_is_better=False)
    return {"contests": len(outcomes["none"]), "rules": found, "ratio_vs_best_peer": ratio}


def _figures_of(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    regrets = [outcome.regret for outcome in outcomes if outcome.regret is not None]
    return {
        "tokens_share": fmean(outcome.tokens_share for outcome in outcomes),
        "stopped": sum(outcome.stopped for outcome in outcomes),
        "same_winner_share": fmean(outcome.best_survived for outcome in outcomes),
        "mean_regret": fmean(regrets) if regrets else None,
    }


def _print(console: Console, contests: Sequence[Contest], outcomes: dict[str, list[Outcome]]) -> None:
    rows: list[list[Any]] = []
    for number, contest in enumerate(contests):
        for rule in RULES:
            rows.append([contest.name, len(contest.arms), rule, *_cells(outcomes[rule][number])])
    columns = ("ranking", "trials", "rule", "tokens", "stopped", "same winner", "regret")
    note = "tokens: of those that running all trains; regret: perplexity of the survivors' best over the best, less 1"
    print_table(console, "Stopping rules on the same curves", columns, rows, note)


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.1%}"


def _cells(outcome: Outcome) -> list[Any]:
    same = "yes" if outcome.best_survived else "no"
    return [_percent(outcome.tokens_share), outcome.stopped, same, _percent(outcome.regret)]


if __name__ == "__main__":
    sys.exit(main())
