"""The report's section on kills: each with its margin, what it spared, and whether an audit bore it out.

Always holds: nothing is said of a kill's rightness but by an audit, a killed trial that was trained again to its end;
of one that had ended before its verdict came, both scores are given and nothing is concluded.
"""

from __future__ import annotations

from paramalloc.formats import DASH, count_of, listed, millions, percent, sentence, significant, usd
from paramalloc.report.blocks import markdown_table
from paramalloc.report.kills import KilledTrial, killed_trials
from paramalloc.report.load import SweepResults, Trial
from paramalloc.results import AUDIT, JUDGED_BY

_HEADS = [
    "trial", "killed at", "dev PPL", "above the baseline", "margin", "for tokens", "tokens saved", "USD saved",
    "audit",
]  # fmt: skip
_MOST_NAMES = 6  # in a sentence
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
    planned = sum(trial["budget_tokens"] or 0 for trial in results.bill_of_trial.values())
    said = []
    if known and planned:
        share = percent(sum(known) / planned)
        spared = f"{count_of(len(killed), 'kill')} spared {millions(sum(known))} tokens"
        said.append(f"{spared}, {share} of what its trials were to train.")
    for trial in results.trials:
        if trial.stage == AUDIT:
            said.append(f"The audit trained {millions(trial.tokens)} tokens{_cost(results, trial)} to check one.")
    said += _late(killed)
    audits = [sentence(kill.audit["text"]) for kill in killed if kill.audit]
    said += audits or _unknown(killed)
    scored = "Perplexities in the table are on the slice of dev, at equal tokens"
    return " ".join([*said, f"{scored}; an audit's are on all of dev." if audits else f"{scored}."])


def _unknown(killed: list[KilledTrial]) -> list[str]:
    """That nobody saw where those would have ended that were stopped before."""
    stopped = [kill for kill in killed if not (kill.ran_on and kill.ran_on[JUDGED_BY])]
    if not stopped:
        return []
    who = "killed trial" if len(stopped) == len(killed) else "other killed trial"
    return [f"No {who} was trained to its end, so whether its kill was right is not known."]


def _late(killed: list[KilledTrial]) -> list[str]:
    """Of trials that trained past the point where they lost, as what they lost against came later."""
    late = {kill.trial: kill.ran_on for kill in killed if kill.ran_on}
    if not late:
        return []
    if len(late) > _MOST_NAMES:
        return [
            f"What {len(late)} of them lost against came late: by then they had trained on, which spares nothing "
            "(`ran_on` in metrics.json says how far each came); the record of each stops where it lost."
        ]
    ends = {name: "its end" if of[JUDGED_BY] else f"{millions(of['tokens'])} tokens" for name, of in late.items()}
    reached = listed([f"{name} to {end}" for name, end in ends.items()])
    they = "it" if len(late) == 1 else "they"
    said = [
        f"What {listed([*late])} lost against came late: by then {they} had trained on, {reached}, which "
        "spares nothing; the record of each stops where it lost."
    ]
    for kill in killed:
        if kill.ran_on and kill.ran_on[JUDGED_BY]:
            against = f", its baseline at {significant(kill.baseline_end)}" if kill.baseline_end else ""
            said.append(f"{kill.trial} ended at {significant(kill.ran_on[JUDGED_BY])} PPL on all of dev{against}.")
    return said


def _cost(results: SweepResults, trial: Trial) -> str:
    spent = results.bill_of_trial.get((trial.stage, trial.name), {}).get("usd")
    return f" ({usd(spent)})" if spent is not None else ""
