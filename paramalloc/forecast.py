"""What a sweep will take, before it has begun: hours and dollars as a range, and what the range rests on.

Always holds: nothing is started; nobody is asked but, on a cluster, EC2 for its price. Least is a sweep in which the
stopping rule stops every challenger of a stage but one as early as it can; most is one in which nothing is stopped
and there are as many finalists as there may be. Dollars of rented machines hold their head and their start, for any
number of machines that there may be. Where no speed is known no number is given. The sanity stage comes on top.
Use: `print_forecast(make_forecast(plan, Path("results/embed")), plan.config.cost, console)` of `forecast_text`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cost.budget import Estimate, Range, estimate
from paramalloc.allocation import flops_per_token
from paramalloc.config import RankingConfig, ResourcesConfig
from paramalloc.plan import Plan, StagePlan, rates_tried
from paramalloc.proposals import corner_shapes
from paramalloc.rental import Rental, on_cluster, rental
from paramalloc.results import FINALISTS, RANKING
from paramalloc.speed import Speed, Work, measured_speed, stated_speed
from paramalloc.sweep.rules.asha import REDUCTION, halving_rungs
from paramalloc.training.run import Budget

FIXED_PRICE = "cost.fixed_usd_per_hour"
BOOT_SECONDS = 360.0  # assumed of a rented machine: a minute of EC2's, and the installation of 2 GB of packages


Phases = Sequence[tuple[Work, Work]]  # each with the least and the most that it may be


@dataclass(frozen=True)
class Forecast:
    """The estimate for one machine, None where no speed is known; `said_by` in words.

    `usd_per_hour`: what it rests on; `rented`: what a machine of EC2 costs, be it this one or another; `rented_usd`:
    the sweep on such machines, None where their speed is unknown.
    """

    estimate: Estimate | None
    said_by: str
    usd_per_hour: Range
    rented: Rental | None = None
    rented_usd: Range | None = None


def make_forecast(plan: Plan, own: Path) -> Forecast:
    """The forecast for a plan whose results are to be in `own`, from what lies there and beside it."""
    return forecast(plan, own.parent, own, rented=rental(plan.config.cost, own))


def forecast(
    plan: Plan, results: Path, own: Path, slots: int | None = None, rented: Rental | None = None
) -> Forecast:
    """The forecast for a plan.

    Args:
        results: the folder with earlier sweeps' results.
        own: this sweep's own results, which go before those of others.
        slots: trials at once, default what this machine has room for.
        rented: a machine of EC2; its price counts where trials run on such machines.
    """
    at_once = slots or room(plan.config.resources)
    fixed = plan.config.cost.fixed_usd_per_hour
    price = rented.price.usd_per_hour if rented and rented.here else (fixed, fixed)
    speed = stated_speed(plan.config.cost) or measured_speed(plan, results, own, at_once)
    if speed is None:
        return Forecast(None, f"no finished trial with the same `resources` lies in {results}", price, rented)
    phases = ranking_work(plan), final_work(plan)
    training = _in_turn(phases, speed, price)
    if rented is None or not (rented.here or plan.config.cost.tokens_per_second):
        return Forecast(training, speed.said_by, price, rented)
    usd = _usd_of_cluster(phases, speed, rented)
    return Forecast(replace(training, usd=usd) if rented.here else training, speed.said_by, price, rented, usd)


def _usd_of_cluster(phases: Phases, speed: Speed, rented: Rental) -> Range:
    """Dollars with head and boot, whatever number of machines there is: fewer need the head for longer, more boot."""
    price, head = rented.price.usd_per_hour, rented.head.usd_per_hour if rented.head else (0.0, 0.0)
    at_most = min(rented.machine.at_most, max(most.runs for _, most in phases))
    found = [_in_turn(phases, speed, price, nodes, head, BOOT_SECONDS).usd for nodes in range(1, at_most + 1)]
    return min(low for low, _ in found), max(high for _, high in found)


def _in_turn(
    phases: Phases,
    speed: Speed,
    usd_per_hour: Range,
    nodes: int = 1,
    head_usd_per_hour: Range = (0.0, 0.0),
    boot_seconds: float = 0.0,
) -> Estimate:
    """One phase after the other, each from least to most; machines start once, before the first."""
    found = []
    for works in phases:
        both = (
            estimate(
                work.tokens,
                speed.of(work),
                usd_per_hour,
                nodes=nodes,
                head_usd_per_hour=head_usd_per_hour,
                boot_seconds=boot_seconds,
            )
            for work in works
        )
        found.append(_between(*both))
        boot_seconds = 0.0
    return _sum(found)


def forecast_as_json(found: Forecast) -> dict[str, Any]:
    """For plan.json: hours of one machine and dollars, each least and most; null where no speed is known."""
    known = found.estimate
    here = found.rented if found.rented and found.rented.here else None
    return {
        "hours": list(known.hours) if known else None,
        "usd": list(known.usd) if known else None,
        "speed": found.said_by,
        "usd_per_hour": list(found.usd_per_hour),
        "price": here.price.said_by if here else FIXED_PRICE,
        "instance_type": here.machine.instance_type if here else None,
        "head_usd_per_hour": here.head.usd_per_hour[0] if here and here.head else None,
        "boot_seconds": BOOT_SECONDS if here else None,
    }


def ranking_work(plan: Plan) -> tuple[Work, Work]:
    """The least and the most that all rankings train, with the noise calibration before and the audit after them."""
    stages = [_stage_work(stage, plan.config.ranking, plan.takes_over(stage)) for stage in plan.stages]
    seeds = set(plan.config.ranking.noise_seeds)
    once = seeds - set(plan.config.finalists.seeds) if rates_tried(plan.baseline) == 1 else seeds
    runs = ((plan.baseline.ranking, seeds), (plan.baseline.final, once))
    noise = [_work(budget, len(of)) for budget, of in runs if of]
    proposed = [_work(run, plan.to_come * rates_tried(plan.baseline)) for run in _proposed_runs(plan, RANKING)]
    audit = [_work(item.ranking, 1) for item in plan.variants if plan.config.ranking.audit]
    dearest_audit = sorted(audit, key=lambda work: work.flops)[-1:]
    return (
        _sum_of([*noise, *(least for least, _ in stages), *proposed[:1]]),
        _sum_of([*noise, *(most for _, most in stages), *proposed[1:], *dearest_audit]),
    )


def _stage_work(stage: StagePlan, ranking: RankingConfig, baseline_is_there: bool) -> tuple[Work, Work]:
    """One ranking: at least the baseline, unless it is there, and one challenger run to their ends.

    The others run as short as may be.
    """
    whole = {item.name: _work(item.ranking, rates_tried(item)) for item in stage.variants}
    most = _sum_of(whole.values())
    baseline = [] if baseline_is_there else [whole[stage.baseline.name]]
    if ranking.stop == "none":
        return _sum_of([*baseline, *(whole[item.name] for item in stage.variants[1:])]), most
    shortest = ranking.kill_rule.window_tokens
    if ranking.stop == "asha":
        shortest = halving_rungs(ranking.tokens, REDUCTION)[0]
    challengers = sorted(stage.variants[1:], key=lambda item: whole[item.name].flops)
    killed = [_work(item.ranking, rates_tried(item), shortest) for item in challengers[1:]]
    return _sum_of([*baseline, *(whole[item.name] for item in challengers[:1]), *killed]), most


def final_work(plan: Plan) -> tuple[Work, Work]:
    """The least and the most that the finalists train: the baseline with one challenger, or with all there may be."""
    seeds = len(plan.config.finalists.seeds)
    base = _work(plan.baseline.final, seeds)
    others = [_work(item.final, seeds) for item in plan.variants[1:]]
    others += [_work(run, seeds) for run in _proposed_runs(plan, FINALISTS) for _ in range(plan.to_come)]
    others.sort(key=lambda work: work.flops)
    most = others[len(others) - plan.most_challengers :]
    return _sum_of([base, *others[:1]]), _sum_of([base, *most])


def _proposed_runs(plan: Plan, stage: str) -> list[Budget]:
    """The cheapest and the dearest run that a search may ask for; none where there is nothing to come."""
    config, corners = plan.config, corner_shapes(plan.config) if plan.to_come else []
    rules = config.ranking if stage == RANKING else config.finalists
    tokens = config.ranking.tokens if stage == RANKING else config.training.tokens
    runs = [Budget(shape, config.training, tokens, rules.eval_interval_tokens) for shape in corners]
    runs.sort(key=lambda run: flops_per_token(run.shape))
    return [runs[0], runs[-1]] if runs else []


def room(resources: ResourcesConfig) -> int:
    """How many trials this machine holds at once; one where trials run on machines of a cluster."""
    import torch

    if on_cluster():
        return 1
    gpus = torch.cuda.device_count()
    per_trial = resources.gpus_per_trial if resources.gpus_per_trial != "auto" else float(gpus > 0)
    holds = (os.cpu_count() or 1) / resources.cpus_per_trial
    return max(1, int(min(holds, gpus / per_trial) if per_trial else holds))


def _work(budget: Budget, runs: int, tokens: int | None = None) -> Work:
    """So many runs to their ends, or to `tokens`."""
    each = budget.total_tokens if tokens is None else min(tokens, budget.total_tokens)
    return Work(runs, runs * each, flops_per_token(budget.shape) * runs * each)


def _sum_of(works: Iterable[Work]) -> Work:
    return sum(works, Work(0, 0, 0.0))


def _between(least: Estimate, most: Estimate) -> Estimate:
    return Estimate(
        (least.usd[0], most.usd[1]), (least.node_hours[0], most.node_hours[1]), (least.hours[0], most.hours[1])
    )


def _sum(stages: list[Estimate]) -> Estimate:
    def total(field: str) -> Range:
        low, high = zip(*(getattr(stage, field) for stage in stages), strict=True)
        return sum(low), sum(high)

    return Estimate(total("usd"), total("node_hours"), total("hours"))
