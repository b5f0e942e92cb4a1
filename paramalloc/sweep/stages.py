"""The stages of a sweep: sanity, ranking, promotion, finalists, verdict; each trial only if it is missing.

Always holds: Ray is started by the first stage that has something to train; each decision is written down before
anything rests on it.
"""

from __future__ import annotations

import importlib.metadata
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cost import ledger
from paramalloc.files import append_jsonl, atomic_write, read_json, read_jsonl, write_json
from paramalloc.plan import Plan
from paramalloc.provenance import git_sha
from paramalloc.report.sanity_figures import draw_sanity_figures
from paramalloc.results import FAILED, FINALISTS, FINISHED, JUDGED_BY, RANKING, SANITY, ResultsFolder
from paramalloc.sweep.budget import BudgetGuard
from paramalloc.sweep.decisions import PROMOTE, WINNER, in_force
from paramalloc.sweep.display import Display
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.kill_rule import KillRule
from paramalloc.sweep.nodes import NodeWatch
from paramalloc.sweep.outlook import Outlook, look_ahead
from paramalloc.sweep.price_watch import PriceWatch
from paramalloc.sweep.ray_session import Cluster, is_cluster, ray_session
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.runner import run_stage
from paramalloc.sweep.sanity import LR_FIND, Check, checks, passed, rate_decisions, rate_warning, suggested_rates
from paramalloc.sweep.selection import RankedRun, SeedScore, Verdict, best_runs, decide, promote
from paramalloc.sweep.side_jobs import measure_alone, run_checks
from paramalloc.sweep.stopped import SweepStoppedError
from paramalloc.sweep.tasks import TrialTask, baseline_of, finalist_tasks, ranking_tasks
from paramalloc.sweep.trial import CheckOutcome
from paramalloc.sweep.trial_state import TrialState
from paramalloc.sweep.work import SweepData


class Stages:
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
        self.guard = BudgetGuard(journal)
        self._cluster: tuple[Cluster, NodeWatch] | None = None
        self._begun: list[StageRecorder] = []
        journal.look_ahead = self._look_ahead

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
        self.guard.require()
        cluster, nodes = self._start()
        names = ", ".join(dict.fromkeys(check.variant for check in missing))
        self.display.say(f"sanity: trying out whether {names} can learn, and at which learning rates")
        failed = []
        config = self.plan.config
        for check, outcome in run_checks(missing, self.data, config.resources, cluster, nodes.tick):
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
            retry_failed=decided(self.folder, followed_by) is None,
        )
        self._begun.append(recorder)
        while (
            recorder.missing and not recorder.hopeless
        ):  # again where the budget allows more than it first seemed to
            names = self.guard.admit(recorder)
            cluster, nodes = self._start()
            self.display.show(recorder)
            try:
                run_stage(recorder, names, self.data, cluster, nodes, self.guard)
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
            prices = self._stack.enter_context(PriceWatch(self.journal))
            nodes = NodeWatch(self.journal, agents=is_cluster(), prices=prices)
            self._stack.callback(nodes.close)
            self._cluster = cluster, nodes
        return self._cluster

    def _look_ahead(self) -> Outlook:
        trials = [trial for recorder in self._begun for trial in recorder.trials.values()]
        return look_ahead(self.plan, trials, promoted=len(self._begun) > 1) if trials else Outlook()

    def _measure_alone(self, finals: StageRecorder) -> None:
        """Latency and memory decide who wins, so they are measured once more with nothing beside them."""
        finished = [trial for trial in finals.trials.values() if trial.status == FINISHED]
        metrics = {trial.folder.metrics: read_json(trial.folder.metrics) for trial in finished}
        if all(item["profiled_alone"] is not None for item in metrics.values()):
            return
        cluster, nodes = self._start()
        self.display.say("measuring latency and memory of the finalists, alone")
        runs = {trial.task.variant: trial.task.run for trial in finished}
        config = self.plan.config
        profiles = measure_alone(runs, config.evaluation, config.resources, cluster, nodes.tick)
        for path, item in metrics.items():
            profile = dict(profiles[item["variant"]])
            write_json(path, item | {"profiled_alone": bool(profile.pop("alone"))} | profile)

    def _promote(self, ranked: StageRecorder) -> dict[str, float]:
        """The finalists with the learning rate of their best run, the baseline first."""
        known = decided(self.folder, PROMOTE)
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
        if not decided(self.folder, WINNER):
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


def decided(folder: ResultsFolder, decision: str) -> dict[str, Any] | None:
    """The `promote` or `winner` row that is in force."""
    return in_force(read_jsonl(folder.decisions), decision)
