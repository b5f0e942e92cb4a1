"""One session of a sweep: Ray, the machines and the budget, and training whatever tasks it is given.

Always holds: Ray is started by the first that has something to run; trials are billed and watched from then on.
`with Session(...) as session: recorder = session.train(plan, tasks, rule, retry_failed=True)`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from paramalloc.config import SweepConfig
from paramalloc.plan import Plan
from paramalloc.provenance import git_sha
from paramalloc.results import FAILED, ResultsFolder
from paramalloc.sweep.budget import BudgetGuard
from paramalloc.sweep.display import Display
from paramalloc.sweep.gauges import Gauges, readings
from paramalloc.sweep.journal import Journal
from paramalloc.sweep.machines.nodes import NodeWatch
from paramalloc.sweep.machines.price_watch import PriceWatch
from paramalloc.sweep.machines.ray_session import is_cluster, ray_session
from paramalloc.sweep.machines.workers import Shared, Workers
from paramalloc.sweep.recorder import StageRecorder
from paramalloc.sweep.rules.stopping import StoppingRule
from paramalloc.sweep.runner import run_stage
from paramalloc.sweep.stopped import SweepStoppedError
from paramalloc.sweep.trials.state import TrialState
from paramalloc.sweep.trials.tasks import TrialTask
from paramalloc.sweep.trials.work import SweepData


class Session:
    """What all stages share.

    `data`: the text, more of it once more vocabularies are asked for; `stages`: the recorders of those that have
    begun, by name and in their order.
    """

    def __init__(
        self,
        config: SweepConfig,
        data: SweepData,
        folder: ResultsFolder,
        journal: Journal,
        display: Display,
        verbose: bool,
    ) -> None:
        self.config, self.data, self.folder, self.journal = config, data, folder, journal
        self.display, self.verbose = display, verbose
        self.versions = {
            "git_sha": git_sha(Path(__file__).parent),
            "torch_version": importlib.metadata.version("torch"),
            "ray_version": importlib.metadata.version("ray"),
        }
        self.guard = BudgetGuard(journal)
        self.stages: dict[str, StageRecorder] = {}
        self._machines: tuple[Workers, NodeWatch] | None = None
        self._shared: tuple[SweepData, Shared[SweepData]] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def trials(self) -> list[TrialState]:
        return [trial for recorder in self.stages.values() for trial in recorder.trials.values()]

    @property
    def failed(self) -> list[str]:
        return [trial.task.name for trial in self.trials if trial.status == FAILED]

    def machines(self) -> tuple[Workers, NodeWatch]:
        """Ray's workers and the nodes they are on, started now where they are not."""
        if self._machines is None:
            cluster = self._stack.enter_context(ray_session(self.verbose))
            gpus = f", {cluster.gpus:g} GPUs" if cluster.gpus else ""
            where = f"dashboard http://{cluster.dashboard}" if cluster.dashboard else "no dashboard"
            self.display.say(f"Ray: {cluster.nodes} node(s), {cluster.cpus:g} CPUs{gpus}; {where}")
            resources = self.config.resources
            workers = Workers(resources.cpus_per_trial, cluster.gpus_per_trial(resources))
            self._stack.callback(workers.close)
            prices = self._stack.enter_context(PriceWatch(self.journal))
            nodes = NodeWatch(self.journal, agents=is_cluster(), prices=prices, beat=self._show_live())
            self._stack.callback(nodes.close)
            self._machines = workers, nodes
        return self._machines

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
        nodes.tick()
        self.guard.watch()

    def _show_live(self) -> Callable[[Collection[str]], None]:
        """Puts money, speed and trials on Ray's metrics port whenever it is called with the nodes that are there."""
        gauges, journal = Gauges(self.config.name), self.journal
        return lambda nodes: gauges.show(readings(journal.newest, nodes, self.trials, journal.preemptions()))

    def train(self, plan: Plan, tasks: list[TrialTask], rule: StoppingRule, retry_failed: bool) -> StageRecorder:
        """Train what is missing of one stage, and return what is known of all of it.

        Errors: SweepStoppedError when two trials broke down in the same way; BudgetReachedError.
        """
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
        while (
            recorder.missing and not recorder.hopeless
        ):  # again where the budget allows more than it first seemed to
            names = self.guard.admit(recorder)
            workers, nodes = self.machines()
            self.display.show(recorder)
            try:
                run_stage(recorder, names, self.shared_data(), workers, nodes, self.guard)
            finally:
                self.display.end_stage()
        if recorder.epidemic:
            raise SweepStoppedError(f"the sweep stops, since another trial would fare no better: {recorder.epidemic}")
        return recorder
