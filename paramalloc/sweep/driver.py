"""The whole sweep in order: text, plan, ranking, finalists, verdict, report; each step only if it is missing.

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

from paramalloc.config import SweepConfig
from paramalloc.data.corpus import open_corpus
from paramalloc.data.prepare import prepare
from paramalloc.errors import UserError
from paramalloc.files import append_jsonl, atomic_write, read_json, read_jsonl, write_json
from paramalloc.plan import CorpusSize, Plan, make_plan, plan_as_json, warnings
from paramalloc.report import build_report
from paramalloc.results import FAILED, FINALISTS, FINISHED, RANKING, ResultsFolder
from paramalloc.sweep.display import Display
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.kill_rule import KillRule
from paramalloc.sweep.metrics import git_sha
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.runner import Cluster, NodeWatch, measure_alone, ray_session, require_room, run_stage
from paramalloc.sweep.selection import Promotion, SeedScore, Verdict, decide, promote
from paramalloc.sweep.tasks import TrialTask, finalist_tasks, ranking_tasks
from paramalloc.sweep.work import SweepData, make_sweep_data
from paramalloc.sweep_file import dump_sweep, load_sweep

EXIT_TRIAL_FAILED = 1


class BaselineLostError(Exception):
    """The baseline did not finish, so nothing can be compared with it."""


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
    BaselineLostError when the baseline failed or diverged.
    """
    plan = make_plan(config)
    fingerprint = open_corpus(config.data).fingerprint()
    _require_same_sweep(config, folder, fingerprint)
    done = _recorded(folder, "winner")
    if done and folder.report.exists():
        Display(console).say(f"done already. {done['sentence']}\nreport: {folder.report}")
        return EXIT_TRIAL_FAILED if done["failed_trials"] else 0
    with Display(console) as display:
        data = _load_data(plan, display)
        atomic_write(folder.sweep, dump_sweep(config))
        size = CorpusSize({v: len(tokens.train) for v, tokens in data.token_sets.items()}, estimated=False)
        write_json(folder.plan, plan_as_json(plan, size) | {"corpus_fingerprint": fingerprint})
        for warning in warnings(plan, size):
            display.say(f"warning: {warning}")
        journal = Journal(folder, config.cost, display.say)
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
        """Ranking, promotion, finalists, verdict; also returns the names of trials that failed."""
        with ExitStack() as self._stack:
            rule = self.plan.config.ranking.kill_rule
            ranked = self._stage(
                ranking_tasks(self.plan),
                KillRule(self.plan.baseline.name, rule.margin_ppl, rule.window_tokens) if rule.enabled else None,
                followed_by="promote",
            )
            promotion = self._promote(ranked)
            finals = self._stage(finalist_tasks(self.plan, promotion.variants), None, followed_by="winner")
            self._measure_alone(finals)
        failed = [t.task.name for stage in (ranked, finals) for t in stage.trials.values() if t.status == FAILED]
        return self._decide(finals, failed), failed

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
            retry_failed=_recorded(self.folder, followed_by) is None,
        )
        config = self.plan.config
        if recorder.missing:
            cluster, watch = self._start()
            self.display.show(recorder)
            try:
                run_stage(recorder, self.data, config.evaluation, config.resources, cluster, watch)
            finally:
                self.display.end_stage()
        return recorder

    def _start(self) -> tuple[Cluster, NodeWatch]:
        if self._cluster is None:
            cluster = self._stack.enter_context(ray_session(self.verbose))
            gpus = f", {cluster.gpus:g} GPUs" if cluster.gpus else ""
            where = f"dashboard http://{cluster.dashboard}" if cluster.dashboard else "no dashboard"
            self.display.say(f"Ray: {cluster.nodes} node(s), {cluster.cpus:g} CPUs{gpus}; {where}")
            self._cluster = cluster, NodeWatch(self.journal)
        return self._cluster

    def _measure_alone(self, finals: StageRecorder) -> None:
        """Latency and memory decide who wins, so they are measured once more with nothing beside them."""
        finished = [trial for trial in finals.trials.values() if trial.status == FINISHED]
        metrics = {trial.folder.metrics: read_json(trial.folder.metrics) for trial in finished}
        if all(item["profiled_alone"] for item in metrics.values()):
            return
        cluster, _ = self._start()
        self.display.say("measuring latency and memory of the finalists, alone")
        runs = {trial.task.variant: trial.task.run for trial in finished}
        config = self.plan.config
        profiles = measure_alone(runs, config.evaluation, config.resources, cluster)
        for path, item in metrics.items():
            write_json(path, item | profiles[item["variant"]] | {"profiled_alone": True})

    def _promote(self, ranked: StageRecorder) -> Promotion:
        known = _recorded(self.folder, "promote")
        if known:
            return Promotion(tuple(known["variants"]), known["reason"])
        baseline = self.plan.baseline.name
        scores = {
            trial.task.variant: read_json(trial.folder.metrics)["dev_ppl_per_baseline_token"]
            for trial in ranked.trials.values()
            if trial.status == FINISHED
        }
        if baseline not in scores:
            state = ranked.trials[baseline]
            raise BaselineLostError(
                f"the baseline {baseline} {state.status}, so nothing can be compared with it; see {state.folder.path}"
            )
        promotion = promote(scores, baseline, self.plan.config.finalists)
        self._record("promote", RANKING, scores=scores, **asdict(promotion))
        self.journal.tell("promotion", f"finalists: {', '.join(promotion.variants)} ({promotion.reason})")
        return promotion

    def _decide(self, finals: StageRecorder, failed: list[str]) -> Verdict:
        scores: dict[str, dict[int, SeedScore]] = {}
        for trial in finals.trials.values():
            if trial.status == FINISHED:
                scores.setdefault(trial.task.variant, {})[trial.task.seed] = _seed_score(
                    read_json(trial.folder.metrics)
                )
        baseline = self.plan.baseline.name
        if baseline not in scores:
            raise BaselineLostError(f"no run of the baseline {baseline} finished the final; see {FINALISTS}/")
        verdict = decide(scores, baseline, self.plan.config.finalists)
        if not _recorded(self.folder, "winner"):
            self._record("winner", FINALISTS, failed_trials=failed, **asdict(verdict))
        return verdict

    def _record(self, decision: str, stage: str, **fields: Any) -> None:
        row = {"decision": decision, "time": self.journal.clock(), "stage": stage, **fields}
        append_jsonl(self.folder.decisions, row)


def _seed_score(metrics: dict[str, Any]) -> SeedScore:
    """Latency is the median at the longest length that was measured, as the most telling of them."""
    latencies = [value["p50"] for value in (metrics["latency_ms"] or {}).values() if value]
    return SeedScore(
        dev_ppl=metrics["dev_ppl_per_baseline_token"],
        latency_ms=latencies[-1] if latencies else None,
        peak_memory_mb=metrics["peak_memory_mb"],
    )


def _recorded(folder: ResultsFolder, decision: str) -> dict[str, Any] | None:
    return next((row for row in read_jsonl(folder.decisions) if row["decision"] == decision), None)


def _load_data(plan: Plan, display: Display) -> SweepData:
    vocab_sizes = dict.fromkeys(item.shape.vocab_size for item in plan.variants)
    token_sets = {size: prepare(plan.config.data, size, display.say) for size in vocab_sizes}
    interval = plan.config.ranking.eval_interval_tokens
    return make_sweep_data(token_sets, plan.baseline.shape.vocab_size, interval)


def _require_same_sweep(config: SweepConfig, folder: ResultsFolder, fingerprint: str) -> None:
    """Errors: UserError when settings or text differ from those that the results in the folder were made with."""
    if not folder.sweep.exists() or not folder.plan.exists():
        return
    anew = "give --results another folder, or --fresh to set these results aside and begin anew"
    if read_json(folder.plan)["corpus_fingerprint"] != fingerprint:
        raise UserError(str(folder.root), f"results of another text than '{config.data.corpus}' now holds", anew)
    before, now = _flat(load_sweep(folder.sweep)), _flat(config)
    changes = [
        f"{key}: {before.get(key, 'unset')} -> {now.get(key, 'unset')}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not key.startswith(("cost.", "data.cache_dir"))
    ]
    if changes:
        raise UserError(
            str(folder.root),
            f"results of a sweep file that differs ({'; '.join(changes)})",
            f"undo the change, {anew}",
        )


def _flat(config: SweepConfig) -> dict[str, Any]:
    """Every value by its dotted path; experiments by name, with what they override."""
    tree = config.model_dump(mode="json", exclude={"experiments", "baseline"})
    tree["experiments"] = {experiment.name: experiment.overrides for experiment in config.experiments}
    tree["baseline"] = config.baseline_name
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else key, inner)
        else:
            flat[prefix] = value

    walk("", tree)
    return flat
