"""Ray Tune's loop (`TuneController`, Ray 2.60), driven from outside, one step at a time.

Always holds: it never ends by itself, as more jobs may come; who waits is served in the overseers' order; Tune's
own cache of idle workers is replaced by `IdleWorkers`, its snapshots are off.

Tune's public `Tuner` runs a set of trials that is known when it starts. Here the next ones follow from what the last
have shown.
"""

from __future__ import annotations

import pickle
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.exceptions import ActorUnavailableError, RayTaskError
from ray.train._internal.storage import StorageContext
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import BasicVariantGenerator

from paramalloc.sweep.machines.jobs import Asked, brief

IDLE_SECONDS = 60.0


@dataclass
class Given(Asked):
    """What Tune knows of it as `trial`. `lost`: its worker was, and it starts again."""

    trial: Trial
    lost: bool = False


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


class TuneLoop(TuneController):
    """A step of it waits for something to happen, a tenth of a second at most, and tells overseers."""

    def __init__(self, storage: StorageContext, idle: IdleWorkers, given: Mapping[str, Given]) -> None:
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

    def __init__(self, given: Mapping[str, Given]) -> None:
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

    def __init__(self, given: Mapping[str, Given]) -> None:
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

    def __init__(self, given: Mapping[str, Given]) -> None:
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


def kill_worker(trial: Trial) -> None:
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
