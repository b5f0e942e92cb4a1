"""The workers of a session: Ray Tune puts jobs on machines, starts lost ones again, and gives free workers the next.

Always holds: a worker outlives its job and takes the next one, whatever stage that belongs to, since its start costs
seconds of imports; one that has had nothing to do for `IDLE_SECONDS` is let go, so that its machine may be. Whatever
fails is started again, for ever: what was a job's own fault, and when it is enough, is for its overseer to say.
Nothing is read back from Tune's own files, so a new driver needs only the results folder.

Tune's public `Tuner` runs a set of trials that is known when it starts. Here the next ones follow from what the last
have shown, so its loop (`TuneController`, Ray 2.60) is driven from outside, one step at a time.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import ray
from ray import tune
from ray._private.state import available_resources_per_node
from ray.exceptions import ActorUnavailableError, RayTaskError
from ray.train._internal.storage import StorageContext
from ray.tune.execution import class_cache
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import BasicVariantGenerator

IDLE_SECONDS = 60.0
_DISMISSAL_SECONDS = 10.0
_LOOK_SECONDS = 1.0
_TRAINABLE = "paramalloc"

Report = Callable[[dict[str, Any]], None]
T = TypeVar("T")


class Shared(Generic[T]):
    """A value in Ray's object store, which a node fetches once; arrays in it are not copied.

    Tune copies what it is given deeply, and of this there is to be one.
    """

    def __init__(self, value: T) -> None:
        self._reference = ray.put(value)

    def get(self) -> T:
        value: T = ray.get(self._reference)
        return value

    def __deepcopy__(self, memo: dict[int, Any]) -> Shared[T]:
        return self


@dataclass(frozen=True)
class Job:
    """`function(*arguments, report)`, to be called in a worker; it reports plain dicts, and has to be repeatable."""

    function: Callable[..., None]
    arguments: tuple[Any, ...]


class Overseer(Protocol):
    """Whoever has jobs done; it is told of each by its name, while `Workers.step` is called."""

    def place_in_line(self, name: str) -> tuple[bool, ...]:
        """Sorts those that wait for a worker, of all overseers."""

    def wanted(self, name: str, waiting: bool) -> bool:
        """Whether the job is still to be done. `waiting`: it has no worker."""

    def began(self, name: str) -> None:
        """The job has a worker."""

    def receive(self, name: str, payload: dict[str, Any]) -> bool:
        """Take in a report. Returns True when the job has to stop."""

    def ended(self, name: str) -> None:
        """The job's worker has been let go, since it was told to stop or had nothing more to do."""

    def lost(self, name: str, cause: str) -> None:
        """The job's worker is gone, and another is started."""


@dataclass(frozen=True)
class _Waiting:
    """A job that Tune does not know, and whose it is."""

    name: str
    job: Shared[Job]
    overseer: Overseer


@dataclass
class _Given:
    """A job that is not over, whose it is, and as what Tune knows it. `lost`: its worker was, and it starts again."""

    name: str
    job: Shared[Job]
    overseer: Overseer
    trial: Trial
    lost: bool = False


class Workers:
    """Has jobs done on workers of one size; nothing happens but in `step`.

    Args:
        cpus, gpus: what a worker holds.
    """

    def __init__(self, cpus: float, gpus: float) -> None:
        _keep_credentials_here()
        self.cpus, self.gpus = cpus, gpus
        self._size = tune.PlacementGroupFactory([{"CPU": cpus, "GPU": gpus}])
        self._given: dict[str, _Given] = {}  # by the id of Tune's trial
        self._waiting: list[_Waiting] = []  # spare jobs, which Tune does not know of yet
        self._spare_overseers: list[Overseer] = []
        self._next_look = 0.0
        self._idle = IdleWorkers()
        self._scratch = tempfile.TemporaryDirectory(prefix="paramalloc-")
        tune.register_trainable(_TRAINABLE, _work)
        self._storage = StorageContext(self._scratch.name, "sweep")
        self._controller = _Controller(self._storage, self._idle, self._given)

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
        self._waiting += [_Waiting(name, Shared(job), overseer) for name, job in jobs.items()]
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
        self._controller.step()
        for trial_id, given in list(self._given.items()):
            lost_spare = given.lost and given.overseer in self._spare_overseers
            if lost_spare:  # it has to stand behind whoever waits now
                self._controller.give_up(given.trial)
            if lost_spare or given.trial.is_finished():
                del self._given[trial_id]
                if given.trial.status == Trial.ERROR:  # also where Tune gives up, as between two jobs of a worker
                    self._waiting.append(_Waiting(given.name, given.job, given.overseer))
        self._start_needed()

    def kill(self, overseer: Overseer, name: str) -> None:
        """End the job's worker at once; it then counts as lost."""
        for given in self._given.values():
            if given.overseer is overseer and given.name == name:
                _kill(given.trial)

    def drop(self, overseer: Overseer) -> None:
        """End its jobs and their workers at once, and say no more of them: Tune would wait for one deep in a step."""
        self._waiting = [waiting for waiting in self._waiting if waiting.overseer is not overseer]
        for trial_id, given in list(self._given.items()):
            if given.overseer is overseer:
                del self._given[trial_id]
                _kill(given.trial)
                self._controller.give_up(given.trial)

    def dismiss(self, keep: int) -> None:
        """Let all but so many idle workers go now, and wait until they have."""
        self._idle.at_most = keep
        self._controller.let_idle_go(_DISMISSAL_SECONDS)
        self._idle.at_most = None

    def close(self) -> None:
        """End all workers. Tune waits for those at work, so these are ended by force."""
        for given in self._given.values():
            _kill(given.trial)
        self._controller.cleanup()
        self._scratch.cleanup()

    def _start(self, waiting: _Waiting) -> None:
        """Hand the job to Tune, which asks Ray for a worker where none is idle."""
        self._waiting.remove(waiting)
        trial = Trial(
            _TRAINABLE,
            config={"job": waiting.job},
            storage=self._storage,
            placement_group_factory=self._size,
            max_failures=-1,
        )
        self._given[trial.trial_id] = _Given(waiting.name, waiting.job, waiting.overseer, trial)
        self._controller.add_trial(trial)

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


class IdleWorkers:
    """Workers without a job, in place of Tune's cache, which drops them when nothing waits at that moment.

    Keys are what a worker holds. `at_most`: how many may be kept of each; None: as many as there are.
    """

    def __init__(self, seconds: float = IDLE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.clock = seconds, clock
        self.at_most: int | None = None
        self.total_max_objects = 0  # in Tune's cache, how many trials wait for a worker; here nothing depends on it
        self._idle: defaultdict[Any, list[tuple[float, Any]]] = defaultdict(list)

    @property
    def num_cached_objects(self) -> int:
        return sum(map(len, self._idle.values()))

    def increase_max(self, key: Any, by: int = 1) -> None: ...

    def decrease_max(self, key: Any, by: int = 1) -> None: ...

    def has_cached_object(self, key: Any) -> bool:
        return bool(self._idle[key])

    def cache_object(self, key: Any, worker: Any) -> bool:
        self._idle[key].append((self.clock(), worker))
        return True

    def pop_cached_object(self, key: Any) -> Any:
        """The one that has been idle for the shortest time, so that one too many grows old."""
        return self._idle[key].pop()[1] if self._idle[key] else None

    def flush_cached_objects(self, force_all: bool = False) -> Iterator[Any]:
        """Those to be let go now, the longest idle first."""
        for idle in self._idle.values():
            at_most = 0 if force_all else len(idle) if self.at_most is None else self.at_most
            while idle and (len(idle) > at_most or self.clock() - idle[0][0] >= self.seconds):
                yield idle.pop(0)[1]


class _Controller(TuneController):
    """Tune's loop, never at its end, as more jobs may come. It writes no snapshots: nobody would read them."""

    def __init__(self, storage: StorageContext, idle: IdleWorkers, given: Mapping[str, _Given]) -> None:
        changes = _Changes(given)
        super().__init__(
            search_alg=_GivenFromOutside(),
            scheduler=_Line(given),
            stopper=_Reports(given),
            callbacks=[changes],
            storage=storage,
            reuse_actors=True,
        )
        self._actor_cache = idle
        changes.resetting = self._resetting_trials

    def checkpoint(self, force: bool = False, wait: bool = False) -> None: ...

    def give_up(self, trial: Trial) -> None:
        """A trial whose worker was killed: to be forgotten, and the worker not to be used again."""
        self._schedule_trial_stop(trial, exception=RuntimeError("dropped"))
        self._live_trials.discard(trial)

    def let_idle_go(self, seconds: float) -> None:
        """Those that `IdleWorkers` gives up; what they held is free afterwards, unless it takes longer than that."""
        self._cleanup_cached_actors()
        kept = self._actor_cache.num_cached_objects + len(self._actor_to_trial)
        until = time.monotonic() + seconds
        while self._actor_manager.num_live_actors > kept and time.monotonic() < until:
            self._actor_manager.next(timeout=0.1)


class _GivenFromOutside(BasicVariantGenerator):
    """No trials of its own; a `BasicVariantGenerator`, since for those alone Tune asks for many machines at once."""

    def next_trial(self) -> None:
        return None

    def is_finished(self) -> bool:
        return False


class _Reports(tune.Stopper):
    """Hands every report to its overseer."""

    def __init__(self, given: Mapping[str, _Given]) -> None:
        self.given = given

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        given = self.given.get(trial_id)
        return given is not None and "payload" in result and given.overseer.receive(given.name, result["payload"])

    def stop_all(self) -> bool:
        return False


class _Changes(tune.Callback):
    """Tells overseers when a job gets a worker, and when it has lost it.

    `resetting`: Tune's trials on their way to an idle worker; one that had died meanwhile is no loss of theirs.
    """

    def __init__(self, given: Mapping[str, _Given]) -> None:
        self.given = given
        self.resetting: set[Trial] = set()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        given = self.given[trial.trial_id]
        given.lost = False
        given.overseer.began(given.name)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        given = self.given[trial.trial_id]
        given.overseer.ended(given.name)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        given = self.given[trial.trial_id]
        given.lost = True
        if trial not in self.resetting:
            given.overseer.lost(given.name, _cause(trial))


class _Line(FIFOScheduler):
    """Who waits is served in the overseers' order; what is not wanted any more is let go."""

    def __init__(self, given: Mapping[str, _Given]) -> None:
        super().__init__()
        self.given = given

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        for given in list(self.given.values()):
            waiting = given.trial.status == Trial.PENDING
            if not given.trial.is_finished() and not given.overseer.wanted(given.name, waiting):
                tune_controller.stop_trial(given.trial)
        line = [given for given in self.given.values() if given.trial.status == Trial.PENDING]
        first = min(line, key=lambda given: given.overseer.place_in_line(given.name), default=None)
        return first.trial if first else None


def _work(config: dict[str, Any]) -> None:
    """What Tune calls in a worker."""
    job: Job = config["job"].get()
    job.function(*job.arguments, lambda payload: tune.report({"payload": payload}))


def _kill(trial: Trial) -> None:
    actor = trial.temporary_state.ray_actor
    if actor is not None:
        ray.kill(actor)


def _cause(trial: Trial) -> str:
    """Why Tune saw the job's worker fail, in words; the error lies in Tune's scratch folder."""
    path = trial.pickled_error_file
    try:
        error = pickle.loads(Path(path).read_bytes()) if path else None
    except (OSError, pickle.PickleError):
        error = None
    if isinstance(error, ActorUnavailableError):
        return "it does not answer any more"
    return brief(error.cause if isinstance(error, RayTaskError) else error) if error else "no reason is known"


def brief(error: BaseException) -> str:
    """An error's first line, and from Ray's long accounts of a dead worker the sentence that says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    details = [line for line in lines if line.startswith(("The actor is dead because", "Memory on the node"))]
    return (details or lines)[0][:300]


def _keep_credentials_here() -> None:
    """Tune would send the driver's AWS keys with each trial, and Ray's runtime-env agent would log them (Ray 2.60).

    Every node has what it needs: a role, or what its Ray was started with.
    """
    names = class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.ENV_VARS_TO_PROPAGATE = {name for name in names if not name.startswith("AWS_")}
