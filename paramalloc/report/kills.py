"""What the stopping rule did: for each kill its curve against the baseline's, what it spared, and how an audit went.

Always holds: the numbers are those of decisions.jsonl and COST_SUMMARY.json; a baseline's curve that is not there any
more leaves a kill without a curve, not without a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paramalloc.formats import millions
from paramalloc.report.figures.style import Look, few_round_ticks, new_figure, plain_ticks, short_name
from paramalloc.report.load import Json, SweepResults, Trial
from paramalloc.results import JUDGED_BY
from paramalloc.sweep.runbook.decisions import AUDIT, KILL

_PANEL_INCHES, _FRAME_INCHES = 1.35, 0.75
_MOST_PANELS = 6  # with more, the figure would be longer than a page


@dataclass(frozen=True)
class KilledTrial:
    """One kill. `row` is its line of decisions.jsonl; `gaps` are (tokens, PPL above the baseline) up to it.

    saved_tokens, saved_usd: what running on to the budget would have cost; None where it is not known.
    audit: the `audit` line of the trial, where it was run again to its end.
    ran_on: how far it had come, and its score there if that was its end, when what it lost against was known.
    baseline_end: what its baseline scored at its end, as far as it had one.
    """

    trial: str
    variant: str
    row: Json
    gaps: tuple[tuple[int, float], ...]
    saved_tokens: int | None
    saved_usd: float | None
    audit: Json | None
    ran_on: Json | None
    baseline_end: float | None


def killed_trials(results: SweepResults) -> list[KilledTrial]:
    """Every kill by a rule, in the order they were decided."""
    trials = {(trial.stage, trial.name): trial for trial in results.trials}
    audits = {(row["of_stage"], row["trial"]): row for row in results.decisions if row["decision"] == AUDIT}
    found = []
    for row in results.decisions:
        if row["decision"] == KILL:
            name = (row["stage"], row["trial"])
            trial, baseline = trials.get(name), trials.get((row["stage"], row.get("baseline") or ""))
            saved = results.saved_by_kill.get(name, {})
            found.append(
                KilledTrial(
                    trial=row["trial"],
                    variant=row["variant"],
                    row=row,
                    gaps=_gaps(trial, baseline),
                    saved_tokens=saved.get("tokens_not_trained"),
                    saved_usd=saved.get("usd"),
                    audit=audits.get(name),
                    ran_on=trial.metrics.get("ran_on") if trial else None,
                    baseline_end=baseline.metrics.get(JUDGED_BY) if baseline else None,
                )
            )
    return found


def draw_kills(killed: Sequence[KilledTrial], looks: dict[str, Look]) -> Figure | None:
    """A panel for each kill with a curve: the gap to the baseline over tokens, the margin, and the window."""
    shown = [kill for kill in killed if kill.gaps and kill.row.get("margin_ppl") is not None][:_MOST_PANELS]
    if not shown:
        return None
    figure = new_figure(_FRAME_INCHES + _PANEL_INCHES * max(len(shown), 1.3))
    panels = figure.subplots(len(shown), squeeze=False, sharex=True)[:, 0]
    for axes, kill in zip(panels, shown, strict=True):
        _draw(axes, kill, looks[kill.variant])
    panels[-1].set_xlabel("training tokens (millions)")
    panels[-1].set_xlim(left=0)
    figure.supylabel("dev PPL above the baseline (slice)", fontsize=7.5)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


def _draw(axes: Axes, kill: KilledTrial, look: Look) -> None:
    margin, killed_at = kill.row["margin_ppl"], kill.row["tokens"] / 1e6
    begun = killed_at - kill.row["for_tokens"] / 1e6
    axes.set_title(f"{short_name(kill.trial)}, killed at {millions(kill.row['tokens'])}")
    axes.axvspan(begun, killed_at, color="#eeeeee", lw=0, zorder=0, label="window")
    axes.axhline(margin, color="black", lw=1.1, ls=(0, (4, 2)), zorder=2, label=f"margin {margin:g} PPL")
    axes.plot(
        [tokens / 1e6 for tokens, _ in kill.gaps], [gap for _, gap in kill.gaps],
        color=look.color, marker=look.marker, ms=3.5, mew=0, lw=1.1, zorder=3, label="gap",
    )  # fmt: skip
    last = [gap for _, gap in kill.gaps[len(kill.gaps) // 3 :]]  # the first, steep points do not set the scale
    top, low = max(*last, 2 * margin), min(0.0, *last)
    axes.set_ylim(low - 0.08 * (top - low), top + 0.15 * (top - low))
    axes.yaxis.set_major_locator(few_round_ticks(4))
    plain_ticks(axes.yaxis)


def _gaps(trial: Trial | None, baseline: Trial | None) -> tuple[tuple[int, float], ...]:
    if trial is None or baseline is None:
        return ()
    points = {row["tokens"]: row[JUDGED_BY] for row in baseline.history}
    shared = [(row["tokens"], row[JUDGED_BY]) for row in trial.history if row["tokens"] in points]
    return tuple((tokens, ppl - points[tokens]) for tokens, ppl in shared)
