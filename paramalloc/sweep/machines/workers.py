"""The workers of a session: Ray Tune puts jobs on machines, starts lost ones again, and gives free workers the next.

Always holds: a worker outlives its job and takes the next one, whatever stage that belongs to, since its start costs
seconds of imports; one that has had nothing to do for `IDLE_SECONDS` is let go, so that its machine may be. Whatever
fails is started again, for ever: what was a job's own fault, and when it is enough, is for its overseer to say.
Nothing is read back from Tune's own files, so a new driver needs only the results folder.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from typing import Any

from ray import tune
from ray._private.state import available_resources_per_node
from ray.train._internal.storage import StorageContext
from ray.tune.execution import class_cache
from ray.tune.experiment import Trial

from paramalloc.sweep.machines.jobs import Asked, Job, Overseer, Shared
from paramalloc.sweep.machines.tune_loop import Given, IdleWorkers, TuneLoop, kill_worker

_DISMISSAL_SECONDS = 10.0
_LOOK_SECONDS = 1.0
_TRAINABLE = "paramalloc"


class Workers:
    """Has jobs done on workers of one size; nothing happens but in `step`.

    Args:
        cpus, gpus: what a worker holds.
    """

    def __init__(self, cpus: float, gpus: float) -> None:
        _keep_credentials_here()
        self.cpus, self.gpus = cpus, gpus
        self._size = tune.PlacementGroupFactory([{"CPU": cpus, "GPU": gpus}])
        self._given: dict[str, Given] = {}  # by the id of Tune's trial
        self._waiting: list[Asked] = []  # spare jobs, which Tune does not know of yet
        self._spare_overseers: list[Overseer] = []
        self._next_look = 0.0
        self._idle = IdleWorkers()
        self._scratch = tempfile.TemporaryDirectory(prefix="paramalloc-")
        tune.register_trainable(_TRAINABLE, _work)
        self._storage = StorageContext(self._scratch.name, "sweep")
        self._loop = TuneLoop(self._storage, self._idle, self._given)

    def give(self, jobs: Mapping[str, Job], overseer: Overseer, spare: bool = False) -> None:
        """Have these done, by name.

        `spare`: on workers that nobody else needs: no job waits, and a worker is idle or a machine that is there has
        room for one. So no machine is rented for them. All jobs of an overseer are spare or none is: what it has
        given before changes with the last that it gives.
        """
        if spare and overseer not in self._spare_overseers:
            self._spare_overseers.append(overseer)
        elif not spare and overseer in self._spare_overseers:
            self._spare_overseers.remove(overseer)
        self._waiting += [Asked(name, Shared(job), overseer) for name, job in jobs.items()]
        self._start_needed()

    def has_jobs_of(self, overseer: Overseer) -> bool:
        """Whether any of them is not over."""
        return bool(self.jobs_of(overseer))

    def jobs_of(self, overseer: Overseer) -> set[str]:
        """The names of those that are not over."""
        waiting = {job.name for job in self._waiting if job.overseer is overseer}
        return waiting | {given.name for given in self._given.values() if given.overseer is overseer}

    def step(self) -> None:
        """Wait for something to happen, a tenth of a second at most, and tell whom it concerns; only with jobs."""
        self._start_spare()
        if not self._given:
            return  # Tune's loop would wait for minutes
        self._loop.step()
        for trial_id, given in list(self._given.items()):
            lost_spare = given.lost and given.overseer in self._spare_overseers
            if lost_spare:  # it has to stand behind whoever waits now
                self._loop.give_up(given.trial)
            if lost_spare or given.trial.is_finished():
                del self._given[trial_id]
                if given.trial.status == Trial.ERROR:  # also where Tune gives up, as between two jobs of a worker
                    self._waiting.append(Asked(given.name, given.job, given.overseer))
        self._start_needed()

    def kill(self, overseer: Overseer, name: str) -> None:
        """End the job's worker at once; it then counts as lost."""
        for given in self._given.values():
            if given.overseer is overseer and given.name == name:
                kill_worker(given.trial)

    def drop(self, overseer: Overseer) -> None:
        """End its jobs and their workers at once, and say no more of them: Tune would wait for one deep in a step."""
        self._waiting = [waiting for waiting in self._waiting if waiting.overseer is not overseer]
        self._spare_overseers = [spare for spare in self._spare_overseers if spare is not overseer]
        for trial_id, given in list(self._given.items()):
            if given.overseer is overseer:
                del self._given[trial_id]
                kill_worker(given.trial)
                self._loop.give_up(given.trial)

    def dismiss(self, keep: int) -> None:
        """Let all but so many idle workers go now, and wait until they have."""
        self._idle.at_most = keep
        self._loop.let_idle_go(_DISMISSAL_SECONDS)
        self._idle.at_most = None

    def close(self) -> None:
        """End all workers. Tune waits for those at work, so these are ended by force."""
        for given in self._given.values():
            kill_worker(given.trial)
        self._loop.cleanup()
        self._scratch.cleanup()

    def _start(self, waiting: Asked) -> None:
        """Hand the job to Tune, which asks Ray for a worker where none is idle."""
        self._waiting.remove(waiting)
        trial = Trial(
            _TRAINABLE,
            config={"job": waiting.job},
            storage=self._storage,
            placement_group_factory=self._size,
            max_failures=-1,
        )
        self._given[trial.trial_id] = Given(waiting.name, waiting.job, waiting.overseer, trial)
        self._loop.add_trial(trial)

    def _start_needed(self) -> None:
        """All that waits and is not spare."""
        for waiting in list(self._waiting):
            if waiting.overseer not in self._spare_overseers:
                self._start(waiting)

    def _start_spare(self) -> None:
        """One spare job, if nobody waits for the worker that it takes; any, if there is nothing else to do."""
        line = [job for job in self._waiting if job.overseer.wanted(job.name, waiting=True)]
        if not line or any(given.trial.status == Trial.PENDING for given in self._given.values()):
            return
        if not self._given or self._idle.num_cached_objects or self._has_room():
            self._start(min(line, key=lambda job: job.overseer.place_in_line(job.name)))

    def _has_room(self) -> bool:
        """Whether a machine that is there could hold one more worker; asked of Ray about once a second."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + _LOOK_SECONDS
        free = available_resources_per_node().values()
        return any(node.get("CPU", 0) >= self.cpus and node.get("GPU", 0) >= self.gpus for node in free)


def _work(config: dict[str, Any]) -> None:
    """What Tune calls in a worker."""
    job: Job = config["job"].get()
    job.function(*job.arguments, lambda payload: tune.report({"payload": payload}))


def _keep_credentials_here() -> None:
    """Tune would send the driver's AWS keys with each trial, and Ray's runtime-env agent would log them (Ray 2.60).

    Every node has what it needs: a role, or what its Ray was started with.
    """
    names = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {name for name in names if not name.startswith("AWS_")}
