"""The driver's side of a stage: takes in what trials report, writes their files, and says which must stop.

Always holds: what a stage has decided can be rebuilt from its files alone, so a driver that was killed carries on
with the same stopping rule it had; history.jsonl has one line per evaluation, never doubled; a verdict is a function
of the curves, so a trial that ran past the point where it lost is recorded as it stood at that point, and what it did
beyond is kept apart, as `ran_on`, for the bill and the report.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from paramalloc.files import append_jsonl, atomic_write, read_json, read_jsonl, write_json, write_jsonl
from paramalloc.formats import millions
from paramalloc.plan import Plan
from paramalloc.results import DIVERGED, FAILED, FINISHED, JUDGED_BY, KILLED, ResultsFolder
from paramalloc.storage.checkpoints import open_checkpoints
from paramalloc.storage.objects import StorageError
from paramalloc.sweep.journal import TRIAL_LOST, TRIAL_PREEMPTED, TRIAL_RESUMED, Journal
from paramalloc.sweep.rules.kill_rule import NOT_FINITE, Kill
from paramalloc.sweep.rules.stopping import StoppingRule
from paramalloc.sweep.trials.attempts import INTERRUPTED, MAX_DEATHS, Attempts
from paramalloc.sweep.trials.metrics import trial_metrics
from paramalloc.sweep.trials.settings import outcome_of, ran_on_of, trial_settings, up_to
from paramalloc.sweep.trials.state import RUNNING, WAITING, TrialState
from paramalloc.sweep.trials.tasks import TrialTask, baseline_of
from paramalloc.sweep.trials.work import SweepData
from paramalloc.sweep.verdicts import Verdicts
from paramalloc.sweep_file import dump_settings
from paramalloc.telemetry import Origin


class StageRecorder:
    """Everything that one stage leaves on disk, and the stopping rule's verdicts.

    Args:
        folder: the sweep's results.
        plan: of the sweep.
        tasks: the stage's trials, the baseline's first.
        data: sizes and hashes of the text.
        journal: where events go.
        rule: who is stopped early.
        versions: `git_sha` and library versions for metrics.json.
        changed: called after every change, for whoever displays it.
        retry_failed: whether trials that failed in an earlier session are carried on from their checkpoints.
    """

    def __init__(
        self,
        folder: ResultsFolder,
        plan: Plan,
        tasks: list[TrialTask],
        data: SweepData,
        journal: Journal,
        rule: StoppingRule,
        versions: dict[str, str | None],
        changed: Callable[[], None] = lambda: None,
        retry_failed: bool = False,
    ) -> None:
        self.folder, self.plan, self.data, self.journal = folder, plan, data, journal
        self.versions, self.changed, self.retry_failed = versions, changed, retry_failed
        self._verdicts = Verdicts(rule, journal)
        self.trials: dict[str, TrialState] = {}
        self.waiting_for: str | None = None  # why no trial can be placed, in words
        self.epidemic: str | None = None  # the error that two trials ran into, in words
        self._first_errors: dict[tuple[str, str], str] = {}
        self._take_up(tasks)

    def grow(self, tasks: Iterable[TrialTask], plan: Plan, data: SweepData) -> None:
        """More trials, of a stage that nobody is stopped in, and the plan and text that know their variants."""
        self.plan, self.data = plan, data
        self._take_up(tasks)

    def _take_up(self, tasks: Iterable[TrialTask]) -> None:
        open_attempts = self.journal.left_open()
        new = {
            task.name: TrialState(
                task,
                self.folder.trial(task.stage, task.name),
                Attempts(task, self.journal, open_attempts.get((task.stage, task.name))),
            )
            for task in tasks
            if task.name not in self.trials
        }
        self.trials |= new
        self._baselines = baseline_of([trial.task for trial in self.trials.values()])
        self._recall(new.values())

    @property
    def missing(self) -> list[TrialTask]:
        return [trial.task for trial in self.trials.values() if not trial.done]

    @property
    def hopeless(self) -> bool:
        """Whether going on is pointless: two trials ran into the same error, or no run of the baseline can finish."""
        baselines = [trial.status for trial in self.trials.values() if trial.task.is_baseline]
        no_baseline = bool(baselines) and all(status in (FAILED, DIVERGED) for status in baselines)
        return self.epidemic is not None or no_baseline

    @property
    def running(self) -> list[TrialState]:
        return [trial for trial in self.trials.values() if trial.status == RUNNING]

    def baseline_of(self, trial: TrialState) -> TrialState | None:
        """The baseline's run that a challenger's is measured against, where the stage has one."""
        name = self._baselines.get(trial.task.name)
        return self.trials[name] if name else None

    def receive(self, name: str, payload: dict[str, Any]) -> bool:
        """Take in one report of a trial (see `sweep.trials.work`). Returns True when the trial has to stop."""
        trial = self.trials[name]
        if not trial.done:
            getattr(self, f"_on_{payload['kind']}")(trial, payload)
            self.changed()
        return trial.done or self._verdicts.on(name) is not None

    def ended(self, name: str) -> None:
        """The trial's process is gone because it was told to stop, or had nothing more to do."""
        trial = self.trials[name]
        if not trial.done and not self._closed_as_killed(trial):
            self.interrupted(name)
        self.changed()

    def lost(self, name: str, cause: str, machines_lost: Collection[str]) -> None:
        """The trial's process is gone and is started anew, unless it has died too often without getting further.

        Args:
            cause: in words, of a death that the trial did not announce itself.
            machines_lost: the nodes that this session has seen disappear.
        """
        trial = self.trials[name]
        if trial.leaving:
            trial.leaving = False
        elif not trial.done and not self._closed_as_killed(trial):
            trial.attempts.died(len(machines_lost))
            deaths = trial.attempts.deaths_of_its_own(machines_lost)
            trial.status = WAITING
            self._tell(trial, TRIAL_LOST, f"{name} lost its worker: {cause}", node=trial.node)
            if deaths >= MAX_DEATHS:
                problem = f"its worker died {deaths} times at {millions(trial.tokens)} tokens; the last time: {cause}"
                self._fail(trial, problem, problem)
        self.changed()

    def origin(self, task: TrialTask) -> Origin:
        """Whose curves a trial's are."""
        return Origin(self.plan.config.name, self.journal.began, self._settings(task))

    def _settings(self, task: TrialTask) -> dict[str, Any]:
        tokenizer_hash = self.data.token_sets[task.run.shape.vocab_size].tokenizer_hash
        return trial_settings(self.plan, task, tokenizer_hash, self.versions)

    def interrupted(self, name: str) -> None:
        """The trial was cut short from outside; it is carried on from its checkpoint another time."""
        trial = self.trials[name]
        trial.attempts.cut()
        trial.attempts.settle()
        if trial.status == RUNNING:
            trial.status = WAITING
            self.changed()

    def _on_started(self, trial: TrialState, payload: dict[str, Any]) -> None:
        """An attempt begins, and sends the history its checkpoint knows: later rows on disk are to be redone."""
        again = trial.started is not None
        tokens = payload["resumed_at_tokens"]
        trial.status, trial.started, trial.node, trial.leaving = RUNNING, payload, payload["node"], False
        trial.attempts.begin(payload["node"], payload["share"], tokens, trial.tokens_per_second)
        settings = self._settings(trial.task)
        place = {name: payload[name] for name in ("device", "precision")}
        atomic_write(trial.folder.config, dump_settings(settings | {"run": settings["run"] | place}))
        if tokens or again:
            self._tell(
                trial, TRIAL_RESUMED, f"{trial.task.name} carries on at {millions(tokens)} tokens", tokens=tokens
            )
        self._verdicts.rule.rewind(trial.task.name, tokens)
        for row in payload["history"]:
            self._judge(trial, row)
        self._rewrite_history(trial, payload["history"])

    def _on_evaluation(self, trial: TrialState, payload: dict[str, Any]) -> None:
        row = payload["row"]
        kept = [old for old in trial.rows if old["tokens"] < row["tokens"]]
        if len(kept) < len(trial.rows):
            self._rewrite_history(trial, kept)
        trial.rows.append(row)
        trial.attempts.reached(row["tokens"])
        self.journal.tokens[trial.task.stage, trial.task.name] = row["tokens"]
        append_jsonl(trial.folder.history, row)
        self._judge(trial, row)

    def _on_note(self, trial: TrialState, payload: dict[str, Any]) -> None:
        self._tell(trial, "trial_note", f"{trial.task.name}: {payload['text']}")

    def _on_finished(self, trial: TrialState, payload: dict[str, Any]) -> None:
        trial.finished = payload
        self._pronounce(self._verdicts.finished(trial.task.name))
        if self._verdicts.on(trial.task.name) is None:
            self._close(trial, FINISHED)
            self.journal.say(f"{trial.task.name} finished: PPL {payload['scores']['dev_ppl']:.2f} on all of dev")

    def _on_diverged(self, trial: TrialState, payload: dict[str, Any]) -> None:
        self._pronounce(self._verdicts.diverged(trial.task.name, payload["tokens"]))
        self._close(trial, DIVERGED, tokens=payload["tokens"])
        self._tell(
            trial,
            "trial_diverged",
            f"{trial.task.name} diverged: its loss, a gradient or a weight was not finite by "
            f"{millions(payload['tokens'])} tokens",
        )

    def _on_preempted(self, trial: TrialState, payload: dict[str, Any]) -> None:
        """It has left its machine with everything saved. One that had not begun there leaves no word."""
        trial.leaving = True
        if trial.status == RUNNING:
            trial.status = WAITING
            trial.attempts.end(INTERRUPTED, lost=0.0)
            event = TRIAL_PREEMPTED if payload["by_notice"] else "trial_stopped"
            text = f"{trial.task.name} left at {millions(payload['tokens'])} tokens with nothing lost"
            self._tell(trial, event, f"{text}: {payload['reason']}", tokens=payload["tokens"], node=trial.node)

    def _on_failed(self, trial: TrialState, payload: dict[str, Any]) -> None:
        """A trial's own error: it is tried once more from its checkpoint; one that two trials share stops all."""
        error, place, name = payload["error"], payload["place"], trial.task.name
        trial.errors += 1
        if trial.errors == 1:
            first = self._first_errors.setdefault((error, place), name)
            if first == name:
                trial.leaving, trial.status = True, WAITING
                trial.attempts.cut(FAILED)
                atomic_write(trial.folder.error, payload["traceback"].rstrip() + "\n")
                self._tell(trial, "trial_error", f"{name} broke down and is tried once more: {error} ({place})")
                return
            self.epidemic = f"{first} and {name} broke down in the same way: {error} ({place})"
        self._fail(trial, error, payload["traceback"])

    def _fail(self, trial: TrialState, error: str, details: str) -> None:
        atomic_write(trial.folder.error, details.rstrip() + "\n")
        self._close(trial, FAILED)
        self._pronounce(self._verdicts.gave_up(trial.task))
        self._tell(trial, "trial_failed", f"{trial.task.name} failed: {error} (details in {trial.folder.error})")

    def _judge(self, trial: TrialState, row: dict[str, Any]) -> None:
        self._pronounce(self._verdicts.judge(trial.task.name, row))

    def _pronounce(self, kills: list[Kill]) -> None:
        """Write down and say each verdict; a trial that has already ended is closed as killed at once.

        So is one that has diverged since, as it would have been stopped before; a failure stays one.
        """
        for kill in kills:
            trial = self.trials[kill.trial]
            if kill.reason != NOT_FINITE and trial.status != FAILED:
                self._verdicts.write(trial.task, kill)
                if trial.status not in (RUNNING, KILLED):
                    self._close_killed(trial, kill)

    def _closed_as_killed(self, trial: TrialState) -> bool:
        kill = self._verdicts.on(trial.task.name)
        if kill:
            self._close_killed(trial, kill)
        return kill is not None

    def _close_killed(self, trial: TrialState, kill: Kill) -> None:
        ran_on = ran_on_of(trial, kill)
        trial.rows, trial.finished = up_to(kill.tokens, trial.rows), None
        self._close(trial, KILLED, ran_on=ran_on)  # before the history, of which nobody else knows how long it was
        write_jsonl(trial.folder.history, trial.rows)
        if ran_on:
            known = "its end" if ran_on[JUDGED_BY] else f"{millions(ran_on['tokens'])} tokens"
            text = f"{trial.task.name} had been trained to {known} by then"
            self._tell(trial, "trial_ran_on", text, tokens=ran_on["tokens"])

    def _close(
        self, trial: TrialState, status: str, tokens: int | None = None, ran_on: dict[str, Any] | None = None
    ) -> None:
        trial.attempts.end(status)
        trial.attempts.settle()
        if status == KILLED:
            trial.attempts.overrule(KILLED)
        trial.status = status
        trained = trial.tokens if tokens is None else tokens
        self._count(trial, ran_on["tokens"] if ran_on else trained)
        spent = self.journal.spent(trial.task.stage, trial.task.name)
        outcome = outcome_of(trial, status, trained, spent, ran_on)
        planned = self.plan[trial.task.variant]
        metrics = trial_metrics(self.plan.config, trial.task, planned, self.data, outcome, self.versions)
        write_json(trial.folder.metrics, metrics | {"same_run_as": trial.same_run_as})
        if status in (KILLED, DIVERGED) or (status == FINISHED and not trial.task.keep_best):
            self._remove_checkpoints(trial)
        if status != FAILED:
            trial.folder.error.unlink(missing_ok=True)  # of an attempt before the one that succeeded

    def _count(self, trial: TrialState, tokens: int) -> None:
        """What it has trained; not of a run taken over, whose tokens would count twice, and cost half."""
        if not trial.same_run_as:
            self.journal.tokens[trial.task.stage, trial.task.name] = tokens

    def _remove_checkpoints(self, trial: TrialState) -> None:
        try:
            open_checkpoints(trial.folder).remove()
        except StorageError as error:
            self._tell(trial, "checkpoints_left", f"{trial.task.name}: its checkpoints stay for now: {error}")

    def _tell(self, trial: TrialState, event: str, text: str, **fields: Any) -> None:
        self.journal.tell(event, text, stage=trial.task.stage, trial=trial.task.name, **fields)

    def _rewrite_history(self, trial: TrialState, rows: list[dict[str, Any]]) -> None:
        if rows != trial.rows or not trial.folder.history.exists():
            write_jsonl(trial.folder.history, rows)
        trial.rows = list(rows)

    def _recall(self, trials: Collection[TrialState]) -> None:
        """Rebuild what earlier sessions saw from their files: states first, then the rule's curves."""
        ended_at: dict[str, int] = {}
        for trial in trials:
            trial.rows = read_jsonl(trial.folder.history)
            metrics = read_json(trial.folder.metrics) if trial.folder.metrics.exists() else {}
            trial.same_run_as, ran_on = metrics.get("same_run_as"), metrics.get("ran_on")
            self._count(trial, ran_on["tokens"] if ran_on else trial.tokens)
            if metrics:
                if metrics["status"] == FAILED and self.retry_failed:
                    continue
                trial.status, ended_at[trial.task.name] = metrics["status"], metrics["tokens"]
                if trial.status == KILLED:  # by a driver that did not come to the history
                    self._rewrite_history(trial, up_to(metrics["tokens"], trial.rows))
                trial.started = {"device": metrics["device"], "precision": metrics["precision"]}
        for trial in sorted(trials, key=lambda trial: not trial.task.is_baseline):
            for row in trial.rows:
                self._judge(trial, row)
            if trial.status in (FINISHED, KILLED):  # a killed one may have lost in a smaller field than the present
                self._pronounce(self._verdicts.finished(trial.task.name))
            elif trial.status == DIVERGED:
                self._pronounce(self._verdicts.diverged(trial.task.name, ended_at[trial.task.name]))
            elif trial.status == FAILED:
                self._pronounce(self._verdicts.gave_up(trial.task))
