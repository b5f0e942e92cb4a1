"""The stages of a sweep: sanity, noise, rankings, audit, finalists, verdict; each trial only if it is missing.

Always holds: each decision is written down before anything rests on it, so every session goes through all stages and
trains what is missing; a plain sweep is a runbook with one ranking; a stage that others come after has one winner for
good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from paramalloc.files import append_jsonl, read_json, read_jsonl, write_json
from paramalloc.plan import Plan, StagePlan
from paramalloc.proposals import PROPOSALS, proposals_in
from paramalloc.results import AUDIT, DIVERGED, FINALISTS, FINISHED, JUDGED_BY, NOISE, SANITY
from paramalloc.sweep.outlook import Outlook, look_ahead
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.rules.stopping import NeverStop, rule_for
from paramalloc.sweep.runbook import decisions
from paramalloc.sweep.runbook.audit import audit_row, is_audited, to_audit
from paramalloc.sweep.runbook.decisions import PROMOTE, STAGE_WINNER, WINNER, decided, known_winners
from paramalloc.sweep.runbook.finalists import choose_finalists, stage_winner
from paramalloc.sweep.runbook.noise_stage import known_noise, noise_row
from paramalloc.sweep.runbook.plan_so_far import plan_so_far
from paramalloc.sweep.runbook.same_run import take_over
from paramalloc.sweep.runbook.sanity import rate_decisions, suggested_rates
from paramalloc.sweep.runbook.sanity_stage import check_sanity
from paramalloc.sweep.runbook.search_stage import next_round
from paramalloc.sweep.runbook.selection import RankedRun, SeedScore, Verdict, best_runs, decide, median_latency_ms
from paramalloc.sweep.session import Session
from paramalloc.sweep.side_jobs import Measurement
from paramalloc.sweep.stopped import SweepStoppedError
from paramalloc.sweep.trials.state import TrialState
from paramalloc.sweep.trials.tasks import (
    TrialTask,
    audit_task,
    finalist_tasks,
    learning_rates,
    noise_tasks,
    ranking_tasks,
)


class Stages:
    """A sweep from its first check to its verdict.

    Args:
        plan: made with the winners that are decided already.
        session: trains, and knows the results folder.
        next_stage: told of the plan, and the stage that comes next, when a winner or a proposal has made it more
            definite; it prepares the text that they need.
    """

    def __init__(self, plan: Plan, session: Session, next_stage: Callable[[Plan, StagePlan], None]) -> None:
        self.plan, self.config, self.session, self.next_stage = plan, plan.config, session, next_stage
        self.folder, self.journal = session.folder, session.journal
        self._over: set[str] = set()  # stages for which no budget has to be kept back any more
        self.journal.look_ahead = self._look_ahead

    def run(self) -> tuple[Verdict, list[str]]:
        """Returns the verdict and the names of trials that failed.

        Errors: SweepStoppedError when a check fails, or a baseline fails or diverges; BudgetReachedError.
        """
        best: dict[str, RankedRun] = {}
        for position, name in enumerate(self.config.stage_names):
            ranked = self._search(position) if self.config.search else self._rank(position)
            best |= ranked
            if name != self.config.stage_names[-1]:
                self._settle(position, ranked)
        rates = self._promote(best)
        self._audit(best)
        finals = self._final(rates)
        failed = self.session.failed
        return self._decide(finals, failed), failed

    def _search(self, position: int) -> dict[str, RankedRun]:
        """Rank what there is, let Optuna propose more by what came out, and again until it has proposed enough."""
        best = self._rank(position)
        while True:
            stage = self.plan.stages[position]
            trials = [t for t in self.session.trials if t.task.stage == stage.name and t.status == FINISHED]
            self._measure_alone([t for t in trials if read_json(t.folder.metrics)["profiled_alone"] is None])
            if not self.plan.to_come:
                return best
            known = proposals_in(read_jsonl(self.folder.decisions))
            scores = {
                t.task.variant: read_json(t.folder.metrics)
                for t in trials
                if t.task.run.learning_rate == best[t.task.variant].learning_rate
            }
            row = next_round(self.plan, known, scores)
            self._record(PROPOSALS, stage.name, **row)
            self.journal.tell(PROPOSALS, row["text"], stage=stage.name)
            self.plan = plan_so_far(self.config, self.folder)
            self.next_stage(self.plan, self.plan.stages[position])
            best = self._rank(position, retry_failed=False)

    def _rank(self, position: int, retry_failed: bool = True) -> dict[str, RankedRun]:
        """One ranking; returns the best run of each variant that finished, its baseline's among them.

        `retry_failed`: whether trials that failed in an earlier session get another chance, unless it is too late.
        """
        stage = self.plan.stages[position]
        check_sanity(self.session, self.plan, stage)
        for row in rate_decisions(stage, self.folder):
            self._record(row.pop("decision"), SANITY, **row)
        rates = suggested_rates(stage, self.folder)
        if position == 0 and self.config.ranking.noise_seeds:
            self._calibrate(rates)
        if position == 0 and not decided(self.folder, PROMOTE):
            self._begin_the_final(rates)
        tasks = ranking_tasks(stage, rates)
        earlier = [trial for trial in self.session.trials if trial.task.stage != FINALISTS]
        for name, origin in take_over(self.plan, tasks, earlier, self.folder).items():
            text = f"{name} is the same run as {origin}, which has finished: not trained again"
            self.journal.tell("trial_taken_over", text, stage=stage.name, trial=name)
        over = stage.name in known_winners(self.folder) or decided(self.folder, PROMOTE)
        recorder = self.session.train(self.plan, tasks, rule_for(self.config, tasks), retry_failed and not over)
        best = best_runs(
            RankedRun(trial.task.variant, trial.task.run.learning_rate, _judged_score(trial))
            for trial in recorder.trials.values()
            if trial.status == FINISHED
        )
        if stage.baseline.name not in best:
            state = next(trial for trial in recorder.trials.values() if trial.task.is_baseline)
            raise SweepStoppedError(
                f"the baseline {stage.baseline.name} {state.status}, so nothing can be compared with it; "
                f"see {state.folder.path}"
            )
        return best

    def _begin_the_final(self, rates: dict[str, float]) -> None:
        """The baseline is always a finalist: where its learning rate is known, its runs fill workers that are free.

        A search needs quiet hours to measure in.
        """
        known = learning_rates(self.plan.baseline, rates)
        if len(known) == 1 and not self.config.search:
            self.session.train_ahead(self.plan, finalist_tasks(self.plan, {self.plan.baseline.name: known[0]}))

    def _calibrate(self, rates: dict[str, float]) -> None:
        """Several seeds of the baseline at both budgets, and what they say about noise."""
        known, by_budget = decided(self.folder, decisions.NOISE), noise_tasks(self.plan, rates)
        every = [task for tasks in by_budget.values() for task in tasks]
        trials: dict[str, TrialState] = {}
        for stage in dict.fromkeys(task.stage for task in every):
            tasks = [task for task in every if task.stage == stage]
            trials |= self.session.train(self.plan, tasks, NeverStop(), retry_failed=known is None).trials
        if known is None:
            scores = {
                kind: [_judged_score(trials[task.name]) for task in tasks if trials[task.name].status == FINISHED]
                for kind, tasks in by_budget.items()
            }
            row = noise_row(self.plan.baseline.name, scores, self.config.finalists)
            self._record(decisions.NOISE, NOISE, **row)
            self.journal.tell("noise", row["text"])

    def _settle(self, position: int, best: dict[str, RankedRun]) -> None:
        """The winner of a stage that is not the last, for good; the plan of those built on it follows from it."""
        stage = self.plan.stages[position]
        if stage.name in known_winners(self.folder):
            return
        noise = known_noise(decided(self.folder, decisions.NOISE), "ranking")
        winner = stage_winner(best, stage.baseline.name, noise)
        scores = {name: run.dev_ppl for name, run in best.items()}
        rates = {name: run.learning_rate for name, run in best.items()}
        row = {**asdict(winner), "baseline": stage.baseline.name, "scores": scores, "learning_rates": rates}
        self._record(STAGE_WINNER, stage.name, **row)
        self.journal.tell("stage_winner", f"{stage.name}: {winner.text}", stage=stage.name)
        self.plan = plan_so_far(self.config, self.folder)
        following = self.plan.stages[position + 1]
        self.next_stage(self.plan, following)
        for name, reason in following.left_out.items():
            self.journal.tell("variant_left_out", f"{name} is left out: {reason}", stage=following.name)

    def _promote(self, best: dict[str, RankedRun]) -> dict[str, float]:
        """The finalists with the learning rate of their best run, the baseline first."""
        known = decided(self.folder, PROMOTE)
        if known:
            return {name: known["learning_rates"][name] for name in known["variants"]}
        winners = list(known_winners(self.folder).values())
        noise = known_noise(decided(self.folder, decisions.NOISE), "ranking")
        promotion = choose_finalists(self.plan, winners, best, noise)
        scores = {name: run.dev_ppl for name, run in best.items()}
        rates = {name: run.learning_rate for name, run in best.items()}
        last = self.plan.stages[-1].name
        self._record(PROMOTE, last, scores=scores, learning_rates=rates, **asdict(promotion))
        self.journal.tell("promotion", f"finalists: {', '.join(promotion.variants)} ({promotion.reason})")
        return {name: rates[name] for name in promotion.variants}

    def _audit(self, best: dict[str, RankedRun]) -> None:
        """Run one killed trial on to its end, where that is asked for and there is one."""
        rows = read_jsonl(self.folder.decisions)
        kill = to_audit(rows) if self.config.ranking.audit else None
        if kill is None:
            self._over.add(AUDIT)
            return
        key = (kill["stage"], kill["trial"])
        task = next(t.task for t in self.session.trials if (t.task.stage, t.task.name) == key)
        done = is_audited(rows)
        recorder = self.session.train(self.plan, [audit_task(task)], NeverStop(), retry_failed=not done)
        (trial,) = recorder.trials.values()
        if not done and trial.status in (FINISHED, DIVERGED):
            baseline = next(s for s in self.plan.stages if s.name == kill["stage"]).baseline.name
            ppl = _judged_score(trial) if trial.status == FINISHED else None
            noise = known_noise(decided(self.folder, decisions.NOISE), "ranking")
            row = audit_row(kill, ppl, baseline, best[baseline].dev_ppl, noise)
            self._record(decisions.AUDIT, AUDIT, **row)
            self.journal.tell("audit", row["text"], stage=AUDIT, trial=task.name)

    def _final(self, rates: dict[str, float]) -> StageRecorder:
        """The finalists, and their latency and memory once more with nothing beside them, as these decide too."""
        over = decided(self.folder, WINNER)
        self._over.add(FINALISTS)  # nothing is kept back for it any more: it is here
        tasks = finalist_tasks(self.plan, rates)
        measurement = self._begin_to_measure(tasks) if self._unmeasured(tasks) else None
        finals = self.session.train(self.plan, tasks, NeverStop(), retry_failed=over is None)
        finished = [trial for trial in finals.trials.values() if trial.status == FINISHED]
        if any(read_json(trial.folder.metrics)["profiled_alone"] is None for trial in finished):
            self._measure_alone(finished, measurement)
        return finals

    def _unmeasured(self, tasks: list[TrialTask]) -> bool:
        files = [self.folder.trial(task.stage, task.name).metrics for task in tasks]
        return not all(file.exists() and read_json(file)["profiled_alone"] is not None for file in files)

    def _begin_to_measure(self, tasks: Iterable[TrialTask]) -> Measurement:
        workers, _ = self.session.machines()
        return Measurement({task.variant: task.run for task in tasks}, self.config.evaluation, workers)

    def _measure_alone(self, finished: list[TrialState], begun: Measurement | None = None) -> None:
        """Latency and memory of these trials' variants in a quiet hour, in place of what they measured themselves."""
        if not finished:
            return
        self.session.guard.require()
        measurement = begun or self._begin_to_measure(trial.task for trial in finished)
        runs = {trial.task.variant: trial.task.run for trial in finished}
        self.session.display.say(f"measuring latency and memory of {', '.join(runs)}, alone")
        metrics = {trial.folder.metrics: read_json(trial.folder.metrics) for trial in finished}
        profiles = measurement.finish(runs, self.session.watch)
        for path, item in metrics.items():
            profile = dict(profiles[item["variant"]])
            write_json(path, item | {"profiled_alone": bool(profile.pop("alone"))} | profile)

    def _decide(self, finals: StageRecorder, failed: list[str]) -> Verdict:
        scores: dict[str, dict[int, SeedScore]] = {}
        for trial in finals.trials.values():
            if trial.status == FINISHED:
                score = _seed_score(read_json(trial.folder.metrics))
                scores.setdefault(trial.task.variant, {})[trial.task.seed] = score
        baseline = self.plan.baseline.name
        if baseline not in scores:
            raise SweepStoppedError(f"no run of the baseline {baseline} finished the final; see {FINALISTS}/")
        verdict = decide(scores, baseline, self.config.finalists)
        if not decided(self.folder, WINNER):
            self._record(WINNER, FINALISTS, failed_trials=failed, **asdict(verdict))
        return verdict

    def _look_ahead(self) -> Outlook:
        trials = self.session.trials
        begun = {trial.task.stage for trial in trials} - ({FINALISTS} - self._over) | self._over
        return look_ahead(self.plan, trials, begun) if trials else Outlook()

    def _record(self, decision: str, stage: str, **fields: Any) -> None:
        row = {"decision": decision, "time": self.journal.clock(), "stage": stage, **fields}
        append_jsonl(self.folder.decisions, row)


def _judged_score(trial: TrialState) -> float:
    return float(read_json(trial.folder.metrics)[JUDGED_BY])


def _seed_score(metrics: dict[str, Any]) -> SeedScore:
    return SeedScore(
        dev_ppl=metrics[JUDGED_BY],
        latency_ms=median_latency_ms(metrics),
        peak_memory_mb=metrics["peak_memory_mb"],
    )
