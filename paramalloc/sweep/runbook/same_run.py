"""Runs that an earlier stage has made already: a stage's baseline is the winner it is built on, not trained twice.

Always holds: only a finished run with the very same model, training, seed, budget and learning rate is taken over;
its numbers stay as they are, and metrics.json says whose they are and that they cost nothing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from paramalloc.files import atomic_write, read_json, write_json
from paramalloc.plan import Plan
from paramalloc.results import FINISHED, ResultsFolder
from paramalloc.sweep.trials.metrics import config_hash
from paramalloc.sweep.trials.settings import trial_settings
from paramalloc.sweep.trials.state import TrialState
from paramalloc.sweep.trials.tasks import TrialTask
from paramalloc.sweep_file import dump_settings

_VERSIONS = ("git_sha", "torch_version", "ray_version", "device", "precision")


def take_over(
    plan: Plan, tasks: Sequence[TrialTask], earlier: Iterable[TrialState], folder: ResultsFolder
) -> dict[str, str]:
    """Copy the results of equal runs into the folders of tasks that have none.

    Returns: by the name of each such task, the run it has them from, as `stage/trial`.
    """
    finished = {trial.task.run: trial for trial in earlier if trial.status == FINISHED}
    taken = {}
    for task in tasks:
        source, files = finished.get(task.run), folder.trial(task.stage, task.name)
        if source is None or files.metrics.exists():
            continue
        origin, known = f"{source.task.stage}/{source.task.name}", read_json(source.folder.metrics)
        versions = {name: known[name] for name in _VERSIONS}
        settings = trial_settings(plan, task, known["tokenizer_hash"], versions)
        metrics = known | {
            "stage": task.stage,
            "trial": task.name,
            "variant": task.variant,
            "config_hash": config_hash(plan.config, plan[task.variant]),
            "same_run_as": origin,
            "wall_seconds": 0.0,
            "lost_seconds": 0.0,
            "preemptions": 0,
            "cost_usd": 0.0,
        }
        atomic_write(files.config, dump_settings(settings))
        atomic_write(files.history, source.folder.history.read_text(encoding="utf-8"))
        write_json(files.metrics, metrics)  # last, as it is what makes a trial done
        taken[task.name] = origin
    return taken
