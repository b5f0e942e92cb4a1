"""The course of a sweep that has something to do: text, stages, verdict, report.

Always holds: each step is done only if it is missing; however the sweep ends, what it has measured is on disk.
"""

from __future__ import annotations

from contextlib import closing

from rich.console import Console

from paramalloc.allocation import print_param_table
from paramalloc.data.corpus import Corpus
from paramalloc.data.manifest import write_manifest
from paramalloc.data.prepare import prepare_all
from paramalloc.data.progress import bars_on
from paramalloc.files import append_jsonl, atomic_write, write_json
from paramalloc.forecast import forecast_as_json, make_forecast
from paramalloc.plan import CorpusSize, Plan, StagePlan, plan_as_json, stage_in_words
from paramalloc.plan_warnings import warnings
from paramalloc.provenance import record_provenance
from paramalloc.report import build_report
from paramalloc.report.live import LivePage
from paramalloc.results import ResultsFolder
from paramalloc.sweep.changes import Changes
from paramalloc.sweep.display import Display
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.machines.ray_session import RaySession
from paramalloc.sweep.runbook.decisions import REOPEN
from paramalloc.sweep.runbook.stages import Stages
from paramalloc.sweep.session import Session
from paramalloc.sweep.stopped import EXIT_TRIAL_FAILED, BudgetReachedError
from paramalloc.sweep.trials.probes import sweep_probes
from paramalloc.sweep.trials.work import SweepData, make_sweep_data
from paramalloc.sweep_file import dump_sweep


def run_course(
    plan: Plan, corpus: Corpus, changes: Changes, folder: ResultsFolder, console: Console, ray_session: RaySession
) -> int:
    """Train what is missing, decide and report. Returns the exit code.

    Args:
        plan: as far as winners are known.
        changes: of the sweep file since the results in `folder` were made, none of which spoils them.
    Errors: as for `driver.run_sweep`.
    """
    config = plan.config
    with Display(console) as display:
        data = _load_data(plan, corpus, folder, display)
        journal = Journal(folder, config.cost, display.say)
        _take_over(changes, journal)
        atomic_write(folder.sweep, dump_sweep(config))
        record_provenance(folder)
        estimate = forecast_as_json(make_forecast(plan, folder.root))
        session = Session(plan, data, folder, journal, display, ray_session)
        shown: set[str] = set()

        def next_stage(plan: Plan, stage: StagePlan) -> None:
            if not {item.shape.vocab_size for item in plan.variants} <= session.data.token_sets.keys():
                session.data = _load_data(plan, corpus, folder, display)
            about = {"corpus_fingerprint": corpus.fingerprint(), "estimate": estimate}
            size = _size(session.data)
            write_json(folder.plan, plan_as_json(plan, size, warnings(plan, size)) | about)
            if len(plan.stages) > 1:
                display.say(stage_in_words(stage))
            new = {item.name: item.shape for item in stage.variants if item.name not in shown}
            shown.update(new)
            if new:
                print_param_table(new, console)

        next_stage(plan, plan.stages[0])
        for warning in warnings(plan, _size(data)):
            display.say(f"warning: {warning}")
        folder.report.unlink(missing_ok=True)  # of an earlier session that was stopped at its budget
        try:
            with closing(journal), LivePage(folder), session:
                verdict, failed = Stages(plan, session, next_stage).run()
        except BudgetReachedError:
            build_report(folder)
            display.say(f"report: {folder.report}")
            raise
        ray_session.let_go()
        display.say(f"\n{verdict.sentence}")  # first, whatever becomes of the report
        build_report(folder)
        display.say(f"report: {folder.report}")
    return EXIT_TRIAL_FAILED if failed else 0


def _size(data: SweepData) -> CorpusSize:
    return CorpusSize({vocab: len(tokens.train) for vocab, tokens in data.token_sets.items()}, estimated=False)


def _load_data(plan: Plan, corpus: Corpus, folder: ResultsFolder, display: Display) -> SweepData:
    """Tokens and probes, prepared now where they are not in the cache, and the manifest that describes them."""
    probes, searched = sweep_probes(plan.config, corpus, display.say)
    token_sets = prepare_all(plan.config.data, plan.vocab_sizes, display.say, bars_on(display.console), corpus=corpus)
    write_manifest(plan.config, corpus, token_sets, folder, searched)
    interval = plan.config.ranking.eval_interval_tokens
    return make_sweep_data(token_sets, plan.baseline.shape.vocab_size, interval, probes)


def _take_over(changes: Changes, journal: Journal) -> None:
    """To be called before sweep.yaml is replaced, or a crash in between would leave decisions that no longer hold."""
    if changes.taken_over:
        text = f"taken over from the changed sweep file: {'; '.join(changes.taken_over)}"
        journal.tell("sweep_changed", text)
        if changes.reopens:
            append_jsonl(journal.folder.decisions, {"decision": REOPEN, "time": journal.clock(), "text": text})
