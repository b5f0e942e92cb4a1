"""Phase 0 as the sweep runs it: the checks that have not passed yet, side by side, billed and kept.

Always holds: a stage is ranked only when all checks of its variants have passed; what each found is on disk before
anything rests on it, also when the budget ends before the others are over.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

from cost import ledger
from paramalloc.files import atomic_write, write_json
from paramalloc.plan import Plan, StagePlan
from paramalloc.report.figures.sanity import draw_sanity_figures
from paramalloc.results import FAILED, FINISHED, SANITY, ResultsFolder
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.runbook.sanity import LR_FIND, Check, checks, passed, rate_warning
from paramalloc.sweep.session import Session
from paramalloc.sweep.side_jobs import run_checks
from paramalloc.sweep.stopped import SweepStoppedError
from paramalloc.sweep.trials.trial import CheckOutcome


def check_sanity(session: Session, plan: Plan, stage: StagePlan) -> None:
    """Try out what a stage needs.

    Errors: SweepStoppedError with the findings of the checks that failed; BudgetReachedError.
    """
    sets, folder = session.data.token_sets, session.folder
    missing = [
        check
        for check in checks(plan, stage)
        if not passed(folder, check, sets[check.run.shape.vocab_size].tokenizer_hash)
    ]
    if not missing:
        return
    session.guard.require()
    workers, _ = session.machines()
    names = ", ".join(dict.fromkeys(check.variant for check in missing))
    session.display.say(f"sanity: trying out whether {names} can learn, and at which learning rates")
    failed = []
    with closing(run_checks(missing, session.shared_data(), workers, session.watch)) as outcomes:
        for check, outcome in outcomes:
            _bill(session.journal, check, outcome)
            _keep(folder, check, outcome.result)
            session.display.say(f"sanity: {outcome.result['message']}")
            if not outcome.result["passed"]:
                failed.append(outcome.result["message"])
            elif check.kind == LR_FIND and (warning := rate_warning(plan[check.variant], outcome.result)):
                session.display.say(f"warning: {warning}")
    session.journal.write_cost_summary()
    if failed:
        draw_sanity_figures(folder, [item.name for item in plan.variants])  # otherwise they come with the report
        raise SweepStoppedError("the sanity stage failed, so nothing was ranked:\n" + "\n".join(failed))


def _keep(folder: ResultsFolder, check: Check, result: dict[str, Any]) -> None:
    """A check that broke down has no curve to keep, only its traceback."""
    if "traceback" in result:
        atomic_write(folder.check_error(check.name), result["traceback"])
    else:
        write_json(check.file(folder), result)


def _bill(journal: Journal, check: Check, outcome: CheckOutcome) -> None:
    """A check is billed when it is over, with the times that its worker took down."""
    about = {"node": outcome.node, "stage": SANITY, "trial": check.name}
    journal.bill(ledger.trial_start, time=outcome.began, variant=check.variant, share=outcome.share, **about)
    status = FINISHED if outcome.result["passed"] else FAILED
    journal.bill(ledger.trial_end, time=outcome.ended, status=status, **about)
