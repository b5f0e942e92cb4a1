"""The sweep command: what is impossible or refused, what is done already, and the rest as the sweep's course.

Always holds: running it again finishes what is missing and changes nothing that is done; a sweep file that differs
from the one the results were made with is refused with the differences shown, before anything is written. Nothing
here needs torch: it is loaded while Ray starts.
"""

from __future__ import annotations

from rich.console import Console

from paramalloc.config import SweepConfig
from paramalloc.data.corpus import Corpus, open_corpus
from paramalloc.plan import make_plan
from paramalloc.results import ResultsFolder
from paramalloc.sweep.changes import changes_since, require_same_text
from paramalloc.sweep.machines.ray_session import RaySession, require_room
from paramalloc.sweep.runbook.decisions import WINNER, decided
from paramalloc.sweep.runbook.plan_so_far import plan_so_far
from paramalloc.sweep.stopped import EXIT_TRIAL_FAILED
from paramalloc.sweep.trials.probes import require_sources


def require_runnable(config: SweepConfig) -> Corpus:
    """Find what makes a sweep impossible before anything is written; returns its text, opened.

    Errors: UserError for a shape, the corpus, or (without a cluster) more CPUs or GPUs than this machine has.
    """
    require_room(config.resources)
    make_plan(config)
    return open_corpus(config.data)


def run_sweep(
    config: SweepConfig, folder: ResultsFolder, console: Console, verbose: bool, corpus: Corpus | None = None
) -> int:
    """Run or resume the sweep in `folder`, whose lock the caller holds. Returns the exit code.

    `corpus`: what `require_runnable` gave, which spares to read a large text again.

    Errors: UserError for what the sweep file or the machine makes impossible; KeyboardInterrupt after Ctrl-C;
    SweepStoppedError when a sanity check fails, or the baseline fails or diverges; BudgetReachedError at the budget.
    """
    plan = plan_so_far(config, folder)
    corpus = corpus or open_corpus(config.data)
    require_same_text(config, folder, corpus.fingerprint())
    changes = changes_since(folder, config)
    done = decided(folder, WINNER)
    if done and folder.report.exists() and not changes.reopens:
        text = f"done already. {done['sentence']}\nreport: {folder.report}"
        console.print(text, highlight=False, markup=False, soft_wrap=True)
        return EXIT_TRIAL_FAILED if done["failed_trials"] else 0
    require_sources(config, corpus, plan.vocab_sizes)
    with RaySession(verbose) as ray_session:
        from paramalloc.sweep.course import run_course

        return run_course(plan, corpus, changes, folder, console, ray_session)
