"""How fast a machine will train a sweep's models: as the sweep file states it, or as finished trials have measured.

Always holds: a speed says what it rests on, and that it is a guess where models of another size have measured it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cost.budget import Range
from paramalloc.allocation import flops_per_token
from paramalloc.config import CostConfig, ResourcesConfig
from paramalloc.errors import UserError
from paramalloc.files import read_json
from paramalloc.plan import Plan
from paramalloc.results import FINALISTS, FINISHED, ResultsFolder
from paramalloc.sweep_file import load_sweep

COMPARABLE = 2.0  # a model of so many times the FLOPs per token, or as much less, runs at about the same FLOP/s


@dataclass(frozen=True)
class Work:
    """Training runs that may go on side by side."""

    runs: int
    tokens: int
    flops: float

    def __add__(self, other: Work) -> Work:
        return Work(self.runs + other.runs, self.tokens + other.tokens, self.flops + other.flops)


@dataclass(frozen=True)
class Speed:
    """How fast one machine trains, evaluations included, and who says so.

    `per_trial`: FLOPs per second of one trial, slowest and fastest; or `tokens_per_second` of the whole machine.
    `at_once`: trials that it holds.
    """

    said_by: str
    at_once: int = 1
    per_trial: Range | None = None
    tokens_per_second: float | None = None

    def of(self, work: Work) -> Range:
        """Tokens per second of the machine at this work."""
        if self.tokens_per_second is not None:
            return self.tokens_per_second, self.tokens_per_second
        assert self.per_trial is not None
        scale = min(self.at_once, work.runs) * work.tokens / work.flops
        return self.per_trial[0] * scale, self.per_trial[1] * scale


def stated_speed(cost: CostConfig) -> Speed | None:
    if cost.tokens_per_second is None:
        return None
    said_by = f"as stated: {cost.tokens_per_second:,.0f} tokens per second (cost.tokens_per_second)"
    return Speed(said_by, tokens_per_second=cost.tokens_per_second)


@dataclass(frozen=True)
class _Finished:
    """A finished trial: whose it is, FLOPs per token, and FLOPs per second over all of its time but what was lost."""

    sweep: str
    flops_per_token: float
    flops_per_second: float


def measured_speed(plan: Plan, results: Path, own: Path, at_once: int) -> Speed | None:
    """From trials with the same resources that finished: the sweep's own, else those of its neighbours.

    Of these, models as large as the plan's; for a size without such, the nearest, and that this is a guess is said.
    """
    others = sorted(path for path in results.iterdir() if path != own) if results.is_dir() else []
    for folders in ([own], others):
        trials = [trial for path in folders for trial in _finished(ResultsFolder(path), plan.config.resources)]
        if trials:
            return _speed_of(trials, [flops_per_token(item.shape) for item in plan.variants], at_once)
    return None


def _speed_of(trials: Sequence[_Finished], sizes: Sequence[float], at_once: int) -> Speed:
    """The speed of models of these sizes (FLOPs per token), from the nearest to each and all that compare to any."""
    nearest = {size: min(trials, key=partial(_distance, size)) for size in sorted(set(sizes))}
    used = [
        trial
        for trial in trials
        if trial in nearest.values() or any(_distance(size, trial) <= COMPARABLE for size in nearest)
    ]
    farthest = max((trial.flops_per_token / size for size, trial in nearest.items()), key=_factor)
    speeds = [trial.flops_per_second for trial in used]
    count = "one finished trial" if len(used) == 1 else f"{len(used)} finished trials"
    names = ", ".join(dict.fromkeys(trial.sweep for trial in used))
    together = f"{at_once} trials" if at_once > 1 else "one trial"
    said_by = f"as measured by {count} of {names}, {together} at a time{_caution(farthest)}"
    return Speed(said_by, at_once, per_trial=(min(speeds), max(speeds)))


def _distance(size: float, trial: _Finished) -> float:
    return _factor(trial.flops_per_token / size)


def _factor(times: float) -> float:
    return max(times, 1 / times)


def _caution(times: float) -> str:
    """What to think of a speed measured on models that are so many times as large as one that it is taken for."""
    if _factor(times) <= COMPARABLE:
        return ""
    size, use, then = ("smaller", "less well", "less") if times < 1 else ("larger", "better", "more")
    much = f"{_factor(times):.2g} times"
    return f"; a guess, from models {much} {size}, which use a machine {use}: it may take far {then}"


def _finished(folder: ResultsFolder, resources: ResourcesConfig) -> list[_Finished]:
    """The finished trials of a sweep with these resources; none of a damaged folder."""
    try:
        if not folder.sweep.exists():
            return []
        config = load_sweep(folder.sweep)
        if config.resources != resources:
            return []
        trials = [trial for stage in (*config.stage_names, FINALISTS) for trial in folder.trials(stage)]
        ended = [read_json(trial.metrics) for trial in trials if trial.metrics.exists()]
        return [
            _Finished(
                folder.root.name,
                metrics["train_flops"] / metrics["tokens"],
                metrics["train_flops"] / (metrics["wall_seconds"] - (metrics["lost_seconds"] or 0.0)),
            )
            for metrics in ended
            if metrics["status"] == FINISHED and metrics["wall_seconds"]
        ]
    except (UserError, OSError, ValueError, KeyError, TypeError):
        return []
