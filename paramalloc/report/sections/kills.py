"""The report's section on kills: each with its margin, what it spared, and whether an audit bore it out.

Always holds: nothing is said of a kill's rightness but by an audit, a killed trial that was trained again to its end.
"""

from __future__ import annotations

from paramalloc.report.blocks import markdown_table
from paramalloc.report.formats import DASH, count_of, millions, percent, sentence, significant, usd
from paramalloc.report.kills import KilledTrial, killed_trials
from paramalloc.report.load import SweepResults, Trial
from paramalloc.results import AUDIT

_HEADS = [
    "trial", "killed at", "dev PPL", "above the baseline", "margin", "for tokens", "tokens saved", "USD saved",
    "audit",
]  # fmt: skip
_AUDITED = {True: "right", False: "**wrong**", None: "within noise"}


def kills_section(results: SweepResults, gallery: str) -> list[str]:
    """Heading, table, what an audit found, and the figure; nothing where nothing was killed."""
    killed = killed_trials(results)
    if not killed:
        return []
    heads, rows = list(_HEADS), [_row(kill) for kill in killed]
    if results.is_runbook:
        heads.insert(1, "stage")
        for kill, row in zip(killed, rows, strict=True):
            row.insert(1, kill.row["stage"])
    table = markdown_table(heads, rows, left=2 if results.is_runbook else 1)
    return ["## Kills", table, _note(results, killed), gallery]


def _row(kill: KilledTrial) -> list[str]:
    row = kill.row
    return [
        kill.trial,
        f"{millions(row['tokens'])} tokens",
        significant(row.get("dev_ppl")),
        DASH if row.get("gap_ppl") is None else f"{significant(row['gap_ppl'], 3)} PPL",
        DASH if row.get("margin_ppl") is None else f"{row['margin_ppl']:g} PPL",
        DASH if row.get("for_tokens") is None else millions(row["for_tokens"]),
        DASH if kill.saved_tokens is None else millions(kill.saved_tokens),
        usd(kill.saved_usd),
        DASH if kill.audit is None else _AUDITED[kill.audit["kill_was_right"]],
    ]


def _note(results: SweepResults, killed: list[KilledTrial]) -> str:
    known = [kill.saved_tokens for kill in killed if kill.saved_tokens is not None]
    planned = sum(trial["budget_tokens"] or 0 for trial in results.cost["by_trial"]) if results.cost else 0
    said = []
    if known and planned:
        share = percent(sum(known) / planned)
        spared = f"{count_of(len(killed), 'kill')} spared {millions(sum(known))} tokens"
        said.append(f"{spared}, {share} of what its trials were to train.")
    for trial in results.trials:
        if trial.stage == AUDIT:
            said.append(f"The audit trained {millions(trial.tokens)} tokens{_cost(results, trial)} to check one.")
    audits = [sentence(kill.audit["text"]) for kill in killed if kill.audit]
    said += audits or ["No killed trial was trained again to its end, so whether a kill was right is not known."]
    scored = "Perplexities in the table are on the slice of dev, at equal tokens"
    return " ".join([*said, f"{scored}; an audit's are on all of dev." if audits else f"{scored}."])


def _cost(results: SweepResults, trial: Trial) -> str:
    lines = results.cost["by_trial"] if results.cost else []
    spent = next((one["usd"] for one in lines if (one["stage"], one["trial"]) == (trial.stage, trial.name)), None)
    return f" ({usd(spent)})" if spent is not None else ""
