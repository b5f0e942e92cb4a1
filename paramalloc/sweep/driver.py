"""The whole sweep in order: text, sanity, ranking, finalists, verdict, report; each step only if it is missing.

Always holds: running it again finishes what is missing and changes nothing that is done; a sweep file that differs
from the one the results were made with is refused with the differences shown.
"""

from __future__ import annotations

import importlib.metadata
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from cost import ledger
from paramalloc.allocation import print_param_table
from paramalloc.config import SweepConfig
from paramalloc.data.corpus import open_corpus
from paramalloc.data.manifest import write_manifest
from paramalloc.data.prepare import prepare_all
from paramalloc.data.progress import bars_on
from paramalloc.errors import UserError
from paramalloc.files import append_jsonl, atomic_write, read_json, read_jsonl, write_json
from paramalloc.plan import CorpusSize, Plan, make_plan, plan_as_json, warnings
from paramalloc.report import build_report
from paramalloc.report.sanity_figures import draw_sanity_figures
from paramalloc.report.token_lengths_figure import write_token_lengths
from paramalloc.results import FAILED, FINALISTS, FINISHED, JUDGED_BY, RANKING, SANITY, ResultsFolder
from paramalloc.sweep.changes import Changes, compare
from paramalloc.sweep.decisions import PROMOTE, REOPEN, WINNER, in_force
from paramalloc.sweep.display import Display
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.kill_rule import KillRule
from paramalloc.sweep.metrics import git_sha
from paramalloc.sweep.nodes import NodeWatch
from paramalloc.sweep.probes import sweep_probes
from paramalloc.sweep.ray_session import Cluster, is_cluster, ray_session, require_room
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.runner import run_stage
from paramalloc.sweep.sanity import LR_FIND, Check, checks, passed, rate_decisions, rate_warning, suggested_rates
from paramalloc.sweep.selection import RankedRun, SeedScore, Verdict, best_runs, decide, promote
from paramalloc.sweep.side_jobs import measure_alone, run_checks
from paramalloc.sweep.tasks import TrialTask, baseline_of, finalist_tasks, ranking_tasks
from paramalloc.sweep.trial import CheckOutcome
from paramalloc.sweep.trial_state import TrialState
from paramalloc.sweep.work import SweepData, make_sweep_data
from paramalloc.sweep_file import dump_sweep, load_sweep

EXIT_TRIAL_FAILED = 1


class SweepStoppedError(Exception):
    """The sweep cannot go on: a sanity check failed, or the baseline did not finish. Its message says what to do."""


def require_runnable(config: SweepConfig) -> None:
    """Find what makes a sweep impossible before anything is written.

    Errors: UserError for a shape, the corpus, or (without a cluster) more CPUs or GPUs than this machine has.
    """
    require_room(config.resources)
    make_plan(config)
    open_corpus(config.data)


def run_sweep(config: SweepConfig, folder: ResultsFolder, console: Console, verbose: bool) -> int:
    """Run or resume the sweep in `folder`, whose lock the caller holds. Returns the exit code.

    Errors: UserError for what the sweep file or the machine makes impossible; KeyboardInterrupt after Ctrl-C;
    SweepStoppedError when a sanity check fails, or the baseline fails or diverges.
    """
    plan = make_plan(config)
    fingerprint = open_corpus(config.data).fingerprint()
    changes = _changes(config, folder, fingerprint)
    done = _in_force(folder, WINNER)
    if done and folder.report.exists() and not changes.reopens:
        Display(console).say(f"done already. {done['sentence']}\nreport: {folder.report}")
        return EXIT_TRIAL_FAILED if done["failed_trials"] else 0
    with Display(console) as display:
        data = _load_data(plan, folder, display)
        journal = Journal(folder, config.cost, display.say)
        _take_over(changes, journal)
        atomic_write(folder.sweep, dump_sweep(config))
        size = CorpusSize({v: len(tokens.train) for v, tokens in data.token_sets.items()}, estimated=False)
        write_json(folder.plan, plan_as_json(plan, size) | {"corpus_fingerprint": fingerprint})
        print_param_table({item.name: item.shape for item in plan.variants}, console)
        for warning in warnings(plan, size):
            display.say(f"warning: {warning}")
        try:
            verdict, failed = _Stages(plan, data, folder, journal, display, verbose).run()
        finally:
            journal.close()
        build_report(folder)
        display.say(f"\n{verdict.sentence}\nreport: {folder.report}")
    return EXIT_TRIAL_FAILED if failed else 0


class _Stages:
    """The stages of one session; Ray is started by the first that has something to train."""

    def __init__(
        self,
        plan: Plan,
        data: SweepData,
        folder: ResultsFolder,
        journal: Journal,
        display: Display,
        verbose: bool,
    ) -> None:
        self.plan, self.data, self.folder, self.journal = plan, data, folder, journal
        self.display, self.verbose = display, verbose
        self.versions = {
            "git_sha": git_sha(Path(__file__).parent),
            "torch_version": importlib.metadata.version("torch"),
            "ray_version": importlib.metadata.version("ray"),
        }
        self._cluster: tuple[Cluster, NodeWatch] | None = None

    def run(self) -> tuple[Verdict, list[str]]:
        """Sanity, ranking, promotion, finalists, verdict; also returns the names of trials that failed."""
        with ExitStack() as self._stack:
            self._check_sanity()
            for row in rate_decisions(self.plan, self.folder):
                self._record(row.pop("decision"), SANITY, **row)
            tasks = ranking_tasks(self.plan, suggested_rates(self.plan, self.folder))
            rule = self.plan.config.ranking.kill_rule
            judge = KillRule(baseline_of(tasks), rule.margin_ppl, rule.window_tokens) if rule.enabled else None
            ranked = self._stage(tasks, judge, followed_by=PROMOTE)
            rates = self._promote(ranked)
            finals = self._stage(finalist_tasks(self.plan, rates), None, followed_by=WINNER)
            self._measure_alone(finals)
        failed = [t.task.name for stage in (ranked, finals) for t in stage.trials.values() if t.status == FAILED]
        return self._decide(finals, failed), failed

    def _check_sanity(self) -> None:
        """Errors: SweepStoppedError with the findings of the checks that failed."""
        sets = self.data.token_sets
        missing = [
            check
            for check in checks(self.plan)
            if not passed(self.folder, check, sets[check.run.shape.vocab_size].tokenizer_hash)
        ]
        if not missing:
            return
        cluster, _ = self._start()
        names = ", ".join(dict.fromkeys(check.variant for check in missing))
        self.display.say(f"sanity: trying out whether {names} can learn, and at which learning rates")
        failed = []
        config = self.plan.config
        for check, outcome in run_checks(missing, self.data, config.resources, cluster):
            self._bill_check(check, outcome)
            self._keep(check, outcome.result)
            self.display.say(f"sanity: {outcome.result['message']}")
            if not outcome.result["passed"]:
                failed.append(outcome.result["message"])
            elif check.kind == LR_FIND and (warning := rate_warning(self.plan[check.variant], outcome.result)):
                self.display.say(f"warning: {warning}")
        draw_sanity_figures(self.folder, [item.name for item in self.plan.variants])
        self.journal.write_cost_summary()
        if failed:
            raise SweepStoppedError("the sanity stage failed, so nothing was ranked:\n" + "\n".join(failed))

    def _keep(self, check: Check, result: dict[str, Any]) -> None:
        """A check that broke down has no curve to keep, only its traceback."""
        if "traceback" in result:
            atomic_write(self.folder.check_error(check.name), result["traceback"])
        else:
            write_json(check.file(self.folder), result)

    def _bill_check(self, check: Check, outcome: CheckOutcome) -> None:
        """A check is billed when it is over, with the times that its worker took down."""
        about = {"node": outcome.node, "stage": SANITY, "trial": check.name}
        self.journal.bill(ledger.trial_start, time=outcome.began, variant=check.variant, share=outcome.share, **about)
        status = FINISHED if outcome.result["passed"] else FAILED
        self.journal.bill(ledger.trial_end, time=outcome.ended, status=status, **about)

    def _stage(self, tasks: list[TrialTask], rule: KillRule | None, followed_by: str) -> StageRecorder:
        """Run one stage. What failed in it is tried once more by each new command until its decision is made."""
        recorder = StageRecorder(
            self.folder,
            self.plan,
            tasks,
            self.data,
            self.journal,
            rule,
            self.versions,
            changed=self.display.refresh,
            retry_failed=_in_force(self.folder, followed_by) is None,
        )
        if recorder.missing:
            cluster, nodes = self._start()
            self.display.show(recorder)
            try:
                run_stage(recorder, self.data, cluster, nodes)
            finally:
                self.display.end_stage()
        if recorder.epidemic:
            raise SweepStoppedError(f"the sweep stops, since another trial would fare no better: {recorder.epidemic}")
        return recorder

    def _start(self) -> tuple[Cluster, NodeWatch]:
        if self._cluster is None:
            cluster = self._stack.enter_context(ray_session(self.verbose))
            gpus = f", {cluster.gpus:g} GPUs" if cluster.gpus else ""
            where = f"dashboard http://{cluster.dashboard}" if cluster.dashboard else "no dashboard"
            self.display.say(f"Ray: {cluster.nodes} node(s), {cluster.cpus:g} CPUs{gpus}; {where}")
            nodes = NodeWatch(self.journal, agents=is_cluster())
            self._stack.callback(nodes.close)
            self._cluster = cluster, nodes
        return self._cluster

    def _measure_alone(self, finals: StageRecorder) -> None:
        """Latency and memory decide who wins, so they are measured once more with nothing beside them."""
        finished = [trial for trial in finals.trials.values() if trial.status == FINISHED]
        metrics = {trial.folder.metrics: read_json(trial.folder.metrics) for trial in finished}
        if all(item["profiled_alone"] is not None for item in metrics.values()):
            return
        cluster, _ = self._start()
        self.display.say("measuring latency and memory of the finalists, alone")
        runs = {trial.task.variant: trial.task.run for trial in finished}
        config = self.plan.config
        profiles = measure_alone(runs, config.evaluation, config.resources, cluster)
        for path, item in metrics.items():
            profile = dict(profiles[item["variant"]])
            write_json(path, item | {"profiled_alone": bool(profile.pop("alone"))} | profile)

    def _promote(self, ranked: StageRecorder) -> dict[str, float]:
        """The finalists with the learning rate of their best run, the baseline first."""
        known = _in_force(self.folder, PROMOTE)
        if known:
            return {name: known["learning_rates"][name] for name in known["variants"]}
        baseline = self.plan.baseline.name
        best = best_runs(
            RankedRun(trial.task.variant, trial.task.run.learning_rate, _judged_score(trial))
            for trial in ranked.trials.values()
            if trial.status == FINISHED
        )
        if baseline not in best:
            state = next(trial for trial in ranked.trials.values() if trial.task.is_baseline)
            raise SweepStoppedError(
                f"the baseline {baseline} {state.status}, so nothing can be compared with it; see {state.folder.path}"
            )
        scores = {name: run.dev_ppl for name, run in best.items()}
        rates = {name: run.learning_rate for name, run in best.items()}
        promotion = promote(scores, baseline, self.plan.config.finalists)
        self._record(PROMOTE, RANKING, scores=scores, learning_rates=rates, **asdict(promotion))
        self.journal.tell("promotion", f"finalists: {', '.join(promotion.variants)} ({promotion.reason})")
        return {name: rates[name] for name in promotion.variants}

    def _decide(self, finals: StageRecorder, failed: list[str]) -> Verdict:
        scores: dict[str, dict[int, SeedScore]] = {}
        for trial in finals.trials.values():
            if trial.status == FINISHED:
                scores.setdefault(trial.task.variant, {})[trial.task.seed] = _seed_score(
                    read_json(trial.folder.metrics)
                )
        baseline = self.plan.baseline.name
        if baseline not in scores:
            raise SweepStoppedError(f"no run of the baseline {baseline} finished the final; see {FINALISTS}/")
        verdict = decide(scores, baseline, self.plan.config.finalists)
        if not _in_force(self.folder, WINNER):
            self._record(WINNER, FINALISTS, failed_trials=failed, **asdict(verdict))
        return verdict

    def _record(self, decision: str, stage: str, **fields: Any) -> None:
        row = {"decision": decision, "time": self.journal.clock(), "stage": stage, **fields}
        append_jsonl(self.folder.decisions, row)


def _judged_score(trial: TrialState) -> float:
    return float(read_json(trial.folder.metrics)[JUDGED_BY])


def _seed_score(metrics: dict[str, Any]) -> SeedScore:
    """Latency is the median at the longest length that was measured, as the most telling of them."""
    latencies = [value["p50"] for value in (metrics["latency_ms"] or {}).values() if value]
    return SeedScore(
        dev_ppl=metrics["dev_ppl_per_baseline_token"],
        latency_ms=latencies[-1] if latencies else None,
        peak_memory_mb=metrics["peak_memory_mb"],
    )


def _in_force(folder: ResultsFolder, decision: str) -> dict[str, Any] | None:
    return in_force(read_jsonl(folder.decisions), decision)


def _load_data(plan: Plan, folder: ResultsFolder, display: Display) -> SweepData:
    """Tokens and probes, prepared now where they are not in the cache, and the manifest that describes them."""
    vocab_sizes = dict.fromkeys(item.shape.vocab_size for item in plan.variants)
    probes, searched = sweep_probes(plan.config, display.say)
    token_sets = prepare_all(plan.config.data, vocab_sizes, display.say, bars_on(display.console))
    write_manifest(plan.config, token_sets, folder, searched)
    write_token_lengths(folder)
    interval = plan.config.ranking.eval_interval_tokens
    return make_sweep_data(token_sets, plan.baseline.shape.vocab_size, interval, probes)


def _take_over(changes: Changes, journal: Journal) -> None:
    """To be called before sweep.yaml is replaced, or a crash in between would leave decisions that no longer hold."""
    if changes.taken_over:
        text = f"taken over from the changed sweep file: {'; '.join(changes.taken_over)}"
        journal.tell("sweep_changed", text)
        if changes.reopens:
            append_jsonl(journal.folder.decisions, {"decision": REOPEN, "time": journal.clock(), "text": text})


def _changes(config: SweepConfig, folder: ResultsFolder, fingerprint: str) -> Changes:
    """What has changed since the results in the folder were made, all of it harmless.

    Errors: UserError when settings or text differ so that what is there would no longer be true.
    """
    if not folder.sweep.exists() or not folder.plan.exists():
        return Changes((), (), reopens=False)
    anew = "give --results another folder, or --fresh to set these results aside and begin anew"
    if read_json(folder.plan)["corpus_fingerprint"] != fingerprint:
        raise UserError(str(folder.root), f"results of another text than '{config.data.corpus}' now holds", anew)
    changes = compare(load_sweep(folder.sweep), config)
    if changes.refused:
        got = f"results of a sweep file that differs ({'; '.join(changes.refused)})"
        raise UserError(str(folder.root), got, f"undo the change, {anew}")
    return changes
