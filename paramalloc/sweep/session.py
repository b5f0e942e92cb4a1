"""One session of a sweep: Ray, the machines and the budget, and training whatever tasks it is given.

Always holds: the first that has something to run waits for Ray; trials are billed and watched from then on.
`with Session(...) as session: recorder = session.train(plan, tasks, rule, retry_failed=True)`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Collection
from contextlib import ExitStack, closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType

from paramalloc.errors import UserError
from paramalloc.plan import Plan
from paramalloc.provenance import git_sha
from paramalloc.results import FAILED, ResultsFolder
from paramalloc.sweep.budget import BudgetGuard
from paramalloc.sweep.display import Display
from paramalloc.sweep.gauges import Gauges, readings
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.machines.jobs import Shared
from paramalloc.sweep.machines.nodes import NodeWatch
from paramalloc.sweep.machines.price_watch import PriceWatch
from paramalloc.sweep.machines.ray_session import Cluster, RaySession, is_cluster
from paramalloc.sweep.machines.workers import Workers
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.rules.stopping import NeverStop, StoppingRule
from paramalloc.sweep.runbook.gpu_share import (
    GPU_SHARE,
    most_demanding,
    most_sharing,
    share_in_words,
    trials_per_gpu,
)
from paramalloc.sweep.runner import give_trials, run_stage
from paramalloc.sweep.side_jobs import measure_sharing
from paramalloc.sweep.stage_control import StageControl
from paramalloc.sweep.stopped import SweepStoppedError
from paramalloc.sweep.trials.recall import forget, request_stop
from paramalloc.sweep.trials.state import TrialState
from paramalloc.sweep.trials.tasks import TrialTask
from paramalloc.sweep.trials.work import SweepData
from paramalloc.sweep.watchdog import Watchdog


class Session:
    """What all stages share.

    `data`: the text, more of it once more vocabularies are asked for; `stages`: the recorders of those that have
    begun, by name and in their order.
    """

    def __init__(
        self,
        plan: Plan,
        data: SweepData,
        folder: ResultsFolder,
        journal: Journal,
        display: Display,
        ray_session: RaySession,
    ) -> None:
        self.plan, self.config = plan, plan.config
        self.data, self.folder, self.journal = data, folder, journal
        self.display, self.ray_session = display, ray_session
        self.versions = {
            "git_sha": git_sha(Path(__file__).parent),
            "torch_version": importlib.metadata.version("torch"),
            "ray_version": importlib.metadata.version("ray"),
        }
        self.guard = BudgetGuard(journal)
        self.stages: dict[str, StageRecorder] = {}
        self._ahead: StageRecorder | None = None  # of a later stage
        self._controls: list[StageControl] = []
        self._machines: tuple[Workers, NodeWatch] | None = None
        self._shared: tuple[SweepData, Shared[SweepData]] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._have_all_leave()
        finally:
            self._stack.__exit__(kind, error, trace)

    @property
    def trials(self) -> list[TrialState]:
        return [trial for recorder in self.stages.values() for trial in recorder.trials.values()]

    @property
    def failed(self) -> list[str]:
        return [trial.task.name for trial in self.trials if trial.status == FAILED]

    def machines(self) -> tuple[Workers, NodeWatch]:
        """Ray's workers and the nodes they are on, as soon as Ray is there."""
        if self._machines is None:
            cluster = self.ray_session.cluster()
            gpus = f", {cluster.gpus:g} GPUs" if cluster.gpus else ""
            where = f"dashboard http://{cluster.dashboard}" if cluster.dashboard else "no dashboard"
            self.display.say(f"Ray: {cluster.nodes} node(s), {cluster.cpus:g} CPUs{gpus}; {where}")
            prices = self._stack.enter_context(PriceWatch(self.journal))
            nodes = NodeWatch(self.journal, agents=is_cluster(), prices=prices, beat=self._show_live())
            self._stack.callback(nodes.close)
            gpus_per_trial = self._gpus_per_trial(cluster, nodes)
            workers = Workers(self.config.resources.cpus_per_trial, gpus_per_trial)
            self._stack.callback(forget, self.journal.session)
            self._stack.callback(workers.close)
            self._machines = workers, nodes
        return self._machines

    def _gpus_per_trial(self, cluster: Cluster, nodes: NodeWatch) -> float:
        """As the sweep file says; where it leaves it open and there are GPUs, what a measurement shows."""
        asked, cpus = self.config.resources.gpus_per_trial, self.config.resources.cpus_per_trial
        if asked != "auto" or not cluster.has_gpus:
            return 0.0 if asked == "auto" else asked
        most = most_sharing(self.plan, None if cluster.brings_gpus else cluster.gpus)
        if most == 1:
            return 1.0
        self.display.say("measuring how many trials a GPU bears")
        with closing(Workers(cpus, 1.0)) as whole:
            try:
                measured = measure_sharing(most_demanding(self.plan), most, whole, partial(self._watch, nodes))
            except UserError as error:
                self.journal.tell(GPU_SHARE, f"one trial on each GPU, since {error}", trials_per_gpu=1)
                return 1.0
        chosen = trials_per_gpu(measured)
        about = {"trials_per_gpu": chosen, "measured": [asdict(each) for each in measured]}
        self.journal.tell(GPU_SHARE, share_in_words(measured), **about)
        return 1.0 / chosen

    def shared_data(self) -> Shared[SweepData]:
        """The text as it is now, for workers; the same text is sent once."""
        if self._shared is None or self._shared[0] is not self.data:
            self._shared = self.data, Shared(self.data)
        return self._shared[1]

    def watch(self) -> None:
        """Machines and money, to be looked at about once a second while something runs that is no trial of a stage.

        Errors: BudgetReachedError when the budget is spent.
        """
        _, nodes = self.machines()
        self._watch(nodes)
        for control in self._controls:
            if control.ahead:
                control.tick()

    def _watch(self, nodes: NodeWatch) -> None:
        nodes.tick()
        self.guard.watch()

    def _show_live(self) -> Callable[[Collection[str]], None]:
        """Puts money, speed and trials on Ray's metrics port whenever it is called with the nodes that are there."""
        gauges, journal = Gauges(self.config.name), self.journal
        return lambda nodes: gauges.show(readings(journal.newest, nodes, self.trials, journal.preemptions()))

    def train(self, plan: Plan, tasks: list[TrialTask], rule: StoppingRule, retry_failed: bool) -> StageRecorder:
        """Train what is missing of one stage, and return what is known of all of it.

        Errors: SweepStoppedError when two trials broke down in the same way, or no run of the baseline can finish the
        stage that is trained ahead; BudgetReachedError; UserError when Ray ends without a result of some trial.
        """
        recorder = self._taken_up(plan, tasks) or self._begin(plan, tasks, rule, retry_failed)
        while (
            recorder.missing and not recorder.hopeless
        ):  # again where the budget allows more than it first seemed to
            names = self.guard.admit(recorder)
            workers, _ = self.machines()
            control, ahead = self._control(recorder), self._control(self._ahead) if self._ahead else None
            give_trials(control, names, self.shared_data(), workers)
            if ahead:
                give_trials(ahead, [task.name for task in ahead.recorder.missing], self.shared_data(), workers)
            self.display.show(recorder, self._ahead)
            try:
                run_stage(control, workers, ahead)
            finally:
                self.display.end_stage()
            held = self.guard.spent_up or self.guard.withheld or control.stopping or recorder.hopeless
            if recorder.missing and not held:
                got = f"an end without a result of {', '.join(task.name for task in recorder.missing)}"
                raise UserError("Ray", got, "run the same command again, with -v to see more")
            if control.stopping:
                self._controls.clear()
                forget(self.journal.session)
            if self._ahead:
                require_hope(self._ahead)
        _require_no_epidemic(recorder)
        return recorder

    def train_ahead(self, plan: Plan, tasks: list[TrialTask]) -> None:
        """Have trials of a later stage, which nobody stops, trained whenever the stages before it leave workers idle.

        When their stage comes, `train` takes them up as they are.
        """
        self._ahead = self.guard.ahead = self._begin(plan, tasks, NeverStop(), retry_failed=True)

    def _have_all_leave(self) -> None:
        """Trials that still run when the sweep ends, as those ahead of their stage do, save their state."""
        for control in self._controls:
            workers, _ = self.machines()
            if workers.has_jobs_of(control):
                control.stop()
                run_stage(control, workers)

    def _begin(self, plan: Plan, tasks: list[TrialTask], rule: StoppingRule, retry_failed: bool) -> StageRecorder:
        recorder = StageRecorder(
            self.folder,
            plan,
            tasks,
            self.data,
            self.journal,
            rule,
            self.versions,
            changed=self.display.refresh,
            retry_failed=retry_failed,
        )
        self.stages[tasks[0].stage] = recorder
        return recorder

    def _taken_up(self, plan: Plan, tasks: list[TrialTask]) -> StageRecorder | None:
        """The stage that was trained ahead, where these are its tasks and more of them."""
        recorder = self._ahead
        if recorder is None or recorder is not self.stages.get(tasks[0].stage):
            return None
        self._ahead = self.guard.ahead = None
        recorder.grow(tasks, plan, self.data)
        for control in self._controls:
            control.ahead = False
        return recorder

    def _control(self, recorder: StageRecorder) -> StageControl:
        """Who decides about the stage while it runs, made now where there is none."""
        for control in self._controls:
            if control.recorder is recorder:
                return control
        workers, nodes = self.machines()
        control = StageControl(
            recorder,
            nodes,
            Watchdog(self.config.resources.silence_seconds),
            self.guard,
            workers.cpus,
            workers.gpus,
            request_stop=lambda: request_stop(self.journal.session),
            kill=lambda name: workers.kill(control, name),
            ahead=recorder is self._ahead,
        )
        self._controls.append(control)
        return control


def _require_no_epidemic(recorder: StageRecorder) -> None:
    if recorder.epidemic:
        raise SweepStoppedError(f"the sweep stops, since another trial would fare no better: {recorder.epidemic}")


def require_hope(ahead: StageRecorder) -> None:
    """Errors: SweepStoppedError when the stage that is trained ahead cannot come to anything any more."""
    _require_no_epidemic(ahead)
    if ahead.hopeless:
        stage = next(iter(ahead.trials.values())).task.stage
        raise SweepStoppedError(f"no run of the baseline can finish {stage}, so nothing can win; see {stage}/")
