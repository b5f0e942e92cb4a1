"""What chaos cost: nodes, tokens, seconds until training went on; per run, and summed up for the whole suite.

Always holds: pure functions of the diary and of what was struck; tokens are counted at evaluations, so a loss is
known to one evaluation interval, and None stands for what was not seen to end.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from tests.chaos.scene import Struck, TrialKey


@dataclass(frozen=True)
class Recovery:
    """One trial that was struck: what it lost and how long it took to train again."""

    kind: str
    trial: str
    noticed: bool
    lost_tokens: int
    seconds: float


@dataclass(frozen=True)
class RunFigures:
    """One run of the suite. `same`: its results are those of the undisturbed run."""

    plan: str
    faults: list[str]
    seconds: float
    drivers: int
    nodes_lost: int
    recoveries: list[Recovery]
    problems: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def recoveries(events: list[dict[str, Any]], struck: list[Struck]) -> list[Recovery]:
    """Each trial that a blow hit, from the blow to its next attempt, unless another blow hit it before."""
    found = []
    for number, blow in enumerate(struck):
        for key, tokens in blow.trials.items():
            until = min((other.time for other in struck[number + 1 :] if key in other.trials), default=float("inf"))
            again = _next_attempt(events, key, blow.time)
            if again and again[0] < until:
                began, resumed_at = again
                found.append(
                    Recovery(blow.kind, "/".join(key), blow.noticed, max(0, tokens - resumed_at), began - blow.time)
                )
    return found


def _next_attempt(events: list[dict[str, Any]], key: TrialKey, after: float) -> tuple[float, int] | None:
    """When the trial's first attempt after a moment began, and at how many tokens."""
    own = [row for row in events if (row.get("stage"), row.get("trial")) == key]
    for number, row in enumerate(own):
        if row["event"] == "trial_start" and row["time"] > after:
            resumed = own[number + 1] if number + 1 < len(own) else {}
            return row["time"], resumed.get("tokens", 0) if resumed.get("event") == "trial_resumed" else 0
    return None


def summary(runs: list[RunFigures]) -> dict[str, Any]:
    """The figures of all runs together."""
    every = [recovery for run in runs for recovery in run.recoveries]
    return {
        "runs": len(runs),
        "runs_with_problems": sum(bool(run.problems) for run in runs),
        "runs_over_before_a_blow": sum(not run.faults for run in runs),
        "drivers_started": sum(run.drivers for run in runs),
        "nodes_lost": sum(run.nodes_lost for run in runs),
        "trials_struck": len(every),
        "tokens_lost_with_notice": sum(one.lost_tokens for one in every if one.noticed),
        "tokens_lost_without_notice": sum(one.lost_tokens for one in every if not one.noticed),
        "seconds_to_training_again": _spread([one.seconds for one in every]),
        "by_kind": {
            kind: {
                "trials_struck": len(own := [one for one in every if one.kind == kind]),
                "most_tokens_lost": max(one.lost_tokens for one in own),
                **_spread([one.seconds for one in own]),
            }
            for kind in sorted({one.kind for one in every})
        },
    }


def table(runs: list[RunFigures]) -> str:
    """The summary as text, a line per kind of fault."""
    total = summary(runs)
    lines = [
        "{runs} runs, {runs_with_problems} with problems, {runs_over_before_a_blow} over before a blow".format(
            **total
        ),
        "{drivers_started} drivers, {nodes_lost} nodes lost".format(**total),
        "tokens lost with notice: {tokens_lost_with_notice}, without: {tokens_lost_without_notice}".format(**total),
        f"{'seconds to training again':28}{'trials':>8}{'median':>8}{'p95':>8}{'most tokens lost':>18}",
    ]
    every = total["seconds_to_training_again"] | {
        "trials_struck": total["trials_struck"],
        "most_tokens_lost": max((kind["most_tokens_lost"] for kind in total["by_kind"].values()), default=0),
    }
    for name, row in [*total["by_kind"].items(), ("all", every)]:
        if row["trials_struck"]:
            lines.append(
                f"{name:28}{row['trials_struck']:8}{row['median']:8.1f}{row['p95']:8.1f}{row['most_tokens_lost']:18}"
            )
    return "\n".join(lines)


def _spread(seconds: list[float]) -> dict[str, float | None]:
    """Median and 95th percentile (nearest rank)."""
    if not seconds:
        return {"median": None, "p95": None}
    ranked = sorted(seconds)
    return {"median": round(median(ranked), 2), "p95": round(ranked[-(-95 * len(ranked) // 100) - 1], 2)}
