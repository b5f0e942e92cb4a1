"""Learning curves that were recorded, read from a table or a results folder, as runs that a rule can be replayed on.

Always holds: a run's points ascend in tokens and end at its budget or at its first score that is not finite; a run
that was cut short of both is left out and counted, but a killed one that an audit ran on is whole; runs are grouped
only with others whose budgets are equal to 1 %, since a longer run with its own schedule is another experiment.

A table (CSV) has the columns `run`, `tokens` or `step`, and `ppl` or `loss` (nats per token); optional are `split`,
`total_tokens` or `total_steps` (the budget; else a run's last point is taken for it). Other columns are passed over.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paramalloc.config import RankingConfig
from paramalloc.errors import UserError
from paramalloc.report.load import Trial, load_results
from paramalloc.results import AUDIT, DIVERGED, FINISHED, JUDGED_BY, KILLED, ResultsFolder
from paramalloc.sweep.runbook import decisions

KILLED_EARLY = "killed by a rule"
SAME_BUDGET = 0.01
Point = tuple[float, float]  # where along the run, and the perplexity there


@dataclass(frozen=True)
class RecordedRun:
    """One run to its end. `points`: tokens and perplexity, the last one infinite if the run diverged."""

    name: str
    points: tuple[tuple[int, float], ...]

    @property
    def final_ppl(self) -> float:
        return self.points[-1][1]

    @property
    def tokens(self) -> int:
        """Trained by the time it ended."""
        return self.points[-1][0]


@dataclass(frozen=True)
class Recording:
    """Runs in groups of equal budgets, the budget of each group, and how many runs were left out, by reason.

    `baselines`: names of runs that others are to be measured against; empty where the recording does not say.
    """

    groups: tuple[tuple[RecordedRun, ...], ...]
    budgets_tokens: tuple[int, ...]
    baselines: frozenset[str]
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class TokenScale:
    """How the places of a table become tokens: so many a step, or so that every run's budget is `budget_tokens`.

    With neither, tokens stay as they are, and runs counted in steps are scaled to a sweep file's default budget.
    """

    tokens_per_step: int | None = None
    budget_tokens: int | None = None


def read_recording(path: Path, split: str, scale: TokenScale) -> Recording:
    """Curves of a CSV file, or of the rankings of a results folder, whose tokens stay as they are.

    Errors: UserError for what cannot be read, lacks a column, or holds no run that ended.
    """
    if path.is_dir() and scale != TokenScale():
        raise UserError(str(path), "a results folder and a scale", "its tokens are known: leave the scale out")
    recording = _read_results(path) if path.is_dir() else _read_table(path, split, scale)
    if not recording.groups:
        reasons = "; ".join(f"{count} {reason}" for reason, count in recording.left_out.items())
        raise UserError(str(path), f"no run that ended ({reasons or 'no rows at all'})", "give curves of whole runs")
    return recording


def _read_results(path: Path) -> Recording:
    results = load_results(ResultsFolder(path))
    stages = [[trial for trial in results.trials if trial.stage == name] for name in results.config.stage_names]
    audited = {(row["of_stage"], row["trial"]) for row in results.decisions if row["decision"] == decisions.AUDIT}
    whole = {trial.name: trial for trial in results.trials if trial.stage == AUDIT}
    left_out: Counter[str] = Counter()
    runs: list[tuple[RecordedRun, ...]] = []
    for trials in stages:
        known = [whole[one.name] if (one.stage, one.name) in audited else one for one in trials]
        ended = [run for trial in known if (run := _run_of(trial)) is not None]
        killed = sum(trial.status == KILLED for trial in known)
        left_out += Counter({KILLED_EARLY: killed, "failed or unfinished": len(trials) - len(ended) - killed})
        runs.append(tuple(ended))
    groups = tuple(group for group in runs if group)
    baselines = {stage["baseline"] for stage in results.plan.get("stages", ())} | {results.config.baseline_name}
    return Recording(
        groups=groups,
        budgets_tokens=(results.config.ranking.tokens,) * len(groups),
        baselines=frozenset(trial.name for trials in stages for trial in trials if trial.variant in baselines),
        left_out=left_out,
    )


def _run_of(trial: Trial) -> RecordedRun | None:
    points = [(int(row["tokens"]), float(row[JUDGED_BY])) for row in trial.history]
    if trial.status == DIVERGED:
        points.append((trial.tokens, math.inf))
    return RecordedRun(trial.name, tuple(points)) if points and trial.status in (FINISHED, DIVERGED) else None


@dataclass(frozen=True)
class _Columns:
    """Which columns of a table hold what."""

    place: str
    score: str
    budget: str | None
    split: str | None


def _read_table(path: Path, split: str, scale: TokenScale) -> Recording:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            columns = _columns(path, reader.fieldnames or ())
            curves, budgets = _collect(path, reader, columns, split)
    except UnicodeDecodeError as error:
        raise UserError(str(path), "bytes that are no UTF-8", "give a CSV file") from error
    except (FileNotFoundError, csv.Error) as error:
        got = "no such file or folder" if isinstance(error, FileNotFoundError) else f"no CSV ({error})"
        raise UserError(str(path), got, "give a CSV file of curves or a results folder") from error
    if scale.tokens_per_step and columns.place != "step":
        raise UserError(str(path), "tokens, and tokens for a step", "leave the tokens of a step out")
    if columns.place == "step" and scale == TokenScale():
        scale = TokenScale(budget_tokens=RankingConfig().tokens)
    return _grouped(curves, budgets, scale)


def _columns(path: Path, names: Sequence[str]) -> _Columns:
    def first(*allowed: str) -> str | None:
        return next((name for name in allowed if name in names), None)

    place, score = first("tokens", "step"), first("ppl", "loss")
    if "run" not in names or place is None or score is None:
        got = f"the columns {', '.join(names)}" if names else "an empty file"
        raise UserError(str(path), got, "needed are: run; tokens or step; ppl or loss")
    budget = first("total_tokens") if place == "tokens" else first("total_steps")
    return _Columns(place, score, budget, first("split"))


def _collect(
    path: Path, reader: csv.DictReader[str], columns: _Columns, split: str
) -> tuple[dict[str, dict[float, float]], dict[str, float]]:
    """By run: perplexity by place, and the budget. A place that stands there twice has its later score."""
    curves: dict[str, dict[float, float]] = {}
    budgets: dict[str, float] = {}
    for row in reader:
        if columns.split and row[columns.split] != split:
            continue
        place, score = (_number(path, reader.line_num, row, name) for name in (columns.place, columns.score))
        if place is None or score is None or place <= 0:  # nothing was measured, or before the first step
            continue
        if not math.isfinite(place):
            raise UserError(f"{path}, line {reader.line_num}", f"{columns.place} {place}", "a finite number")
        curves.setdefault(row["run"], {})[place] = _exp(score) if columns.score == "loss" else score
        budget = _number(path, reader.line_num, row, columns.budget) if columns.budget else None
        budgets[row["run"]] = max(budgets.get(row["run"], 0), place, budget or 0)
    return curves, budgets


def _number(path: Path, line: int, row: dict[str, str], column: str) -> float | None:
    """A cell; None where it is empty. Errors: UserError for a text."""
    text = (row[column] or "").strip()
    try:
        return float(text) if text else None
    except ValueError as error:
        raise UserError(f"{path}, line {line}", f"{column} '{text}'", "a number, nan, inf or nothing") from error


def _exp(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf if not math.isnan(loss) else math.nan


def _grouped(
    curves: Mapping[str, Mapping[float, float]], budgets: Mapping[str, float], scale: TokenScale
) -> Recording:
    groups: list[list[RecordedRun]] = []
    lowest: list[float] = []
    left_out: Counter[str] = Counter()
    for name in sorted(curves, key=lambda name: (budgets[name], name)):
        points = _to_the_end(sorted(curves[name].items()))
        if math.isfinite(points[-1][1]) and points[-1][0] < (1 - SAME_BUDGET) * budgets[name]:
            left_out["cut short of the budget"] += 1
            continue
        if not lowest or budgets[name] > (1 + SAME_BUDGET) * lowest[-1]:
            groups.append([])
            lowest.append(budgets[name])
        factor = _tokens_per_place(scale, budgets[name])
        groups[-1].append(RecordedRun(name, tuple((round(at * factor), ppl) for at, ppl in points)))
    return Recording(
        groups=tuple(tuple(group) for group in groups),
        budgets_tokens=tuple(round(budget * _tokens_per_place(scale, budget)) for budget in lowest),
        baselines=frozenset(),
        left_out=left_out,
    )


def _to_the_end(points: Iterable[Point]) -> list[Point]:
    """Up to the first score that is not finite, which counts as infinite: the run diverged."""
    kept: list[Point] = []
    for place, ppl in points:
        kept.append((place, ppl if math.isfinite(ppl) else math.inf))
        if not math.isfinite(ppl):
            break
    return kept


def _tokens_per_place(scale: TokenScale, budget: float) -> float:
    return scale.budget_tokens / budget if scale.budget_tokens else scale.tokens_per_step or 1
