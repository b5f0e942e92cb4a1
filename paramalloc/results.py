"""The results folder: the one place that knows the name of every file a sweep leaves behind.

Always holds: names are relative to one root (`results/<sweep>`), nothing here reads or writes anything, and no
other module spells a result file name. Layout:

    sweep.yaml plan.json DATASET_MANIFEST.json tokenizer-<vocab_size>.json decisions.jsonl events.jsonl
    environment.json code.diff COST_SUMMARY.json
    results_summary.csv REPORT.md RESULTS.md MODEL_CARD.md report.html bundle.zip figures/ .lock .copy
    badges/ cost.svg progress.svg
    sanity/ overfit-<variant>.json lr_find-<variant>.json <check>.error.txt
    <stage>/<trial>/ config.yaml metrics.json history.jsonl error.txt checkpoint/ tensorboard/ export/

Stages with trials: noise, then ranking or those that a runbook names, audit, finalists.

A comparison of several sweeps has COMPARISON.md comparison.html comparison.csv figures/
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SCHEMA_VERSION = 1
SANITY, NOISE, RANKING, AUDIT, FINALISTS = "sanity", "noise", "ranking", "audit", "finalists"
# Folders of a results folder that no stage of a runbook can be named after.
RESERVED = frozenset({SANITY, NOISE, AUDIT, FINALISTS, "figures", "badges"})
FINISHED, KILLED, DIVERGED, FAILED = "finished", "killed", "diverged", "failed"

DRIVER = ".driver.json"  # in storage only: who writes there, see `paramalloc.storage.lease`
CHECKPOINTS, TENSORBOARD = "checkpoint", "tensorboard"  # of a trial; written by its worker, all else by the driver

JUDGED_BY = "dev_ppl_per_baseline_token"  # the score that compares variants, whatever their tokenizers

# Fields of metrics.json and history.jsonl that measure the machine or the day; all others are the same whenever the
# same trial is run again on the same kind of machine.
MEASURED_FIELDS = frozenset(
    {
        "cost_usd",
        "decode_tokens_per_second",
        "latency_ms",
        "lost_seconds",
        "mfu",
        "other_load_cores",
        "peak_memory_mb",
        "preemptions",
        "profiled_alone",
        "ran_on",  # past a verdict that had to wait for other trials
        "tokens_per_second",
        "training_seconds",
        "training_tokens_per_second",
        "wall_seconds",
    }
)

# Fields of metrics.json that name the software.
VERSION_FIELDS = frozenset({"git_sha", "torch_version", "ray_version"})


@dataclass(frozen=True)
class TrialFolder:
    """One trial's files. `stage` and `name` are also its identity in decisions.jsonl and events.jsonl.

    `storage` is that of its sweep's `ResultsFolder`.
    """

    root: Path
    stage: str
    name: str
    storage: str | None = None

    @property
    def path(self) -> Path:
        return self.root / self.stage / self.name

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.json"

    @property
    def history(self) -> Path:
        return self.path / "history.jsonl"

    @property
    def error(self) -> Path:
        return self.path / "error.txt"

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    @property
    def tensorboard(self) -> Path:
        return self.path / TENSORBOARD

    @property
    def export(self) -> Path:
        return self.path / "export"


@dataclass(frozen=True)
class ResultsFolder:
    """Every file name of one sweep's results.

    `storage`: `s3://bucket/prefix/<sweep>` where they are kept too, so that machines need not share a file system;
    there, names are those relative to `root`.
    """

    root: Path
    storage: str | None = None

    @property
    def sweep(self) -> Path:
        return self.root / "sweep.yaml"

    @property
    def plan(self) -> Path:
        return self.root / "plan.json"

    @property
    def manifest(self) -> Path:
        return self.root / "DATASET_MANIFEST.json"

    def tokenizer(self, vocab_size: int) -> Path:
        return self.root / f"tokenizer-{vocab_size}.json"

    def overfit(self, variant: str) -> Path:
        return self.root / SANITY / f"overfit-{variant}.json"

    def lr_find(self, variant: str) -> Path:
        return self.root / SANITY / f"lr_find-{variant}.json"

    def check_error(self, check: str) -> Path:
        """The traceback of a check that broke down, by the check's name, such as `overfit-base`."""
        return self.root / SANITY / f"{check}.error.txt"

    @property
    def decisions(self) -> Path:
        return self.root / "decisions.jsonl"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def cost_summary(self) -> Path:
        return self.root / "COST_SUMMARY.json"

    @property
    def cost_badge(self) -> Path:
        return self.root / "badges" / "cost.svg"

    @property
    def progress_badge(self) -> Path:
        return self.root / "badges" / "progress.svg"

    @property
    def summary_csv(self) -> Path:
        return self.root / "results_summary.csv"

    @property
    def figures(self) -> Path:
        return self.root / "figures"

    @property
    def report(self) -> Path:
        return self.root / "REPORT.md"

    @property
    def results_page(self) -> Path:
        return self.root / "RESULTS.md"

    @property
    def html(self) -> Path:
        return self.root / "report.html"

    @property
    def model_card(self) -> Path:
        return self.root / "MODEL_CARD.md"

    @property
    def environment(self) -> Path:
        return self.root / "environment.json"

    @property
    def code_diff(self) -> Path:
        return self.root / "code.diff"

    @property
    def bundle(self) -> Path:
        return self.root / "bundle.zip"

    @property
    def lock(self) -> Path:
        return self.root / ".lock"

    @property
    def copy_name(self) -> Path:
        """What this copy of the results is called in `DRIVER`, by which storage knows whose copy is the newest."""
        return self.root / ".copy"

    def trial(self, stage: str, name: str) -> TrialFolder:
        return TrialFolder(self.root, stage, name, self.storage)

    def trials(self, stage: str) -> Iterator[TrialFolder]:
        """The trials of one stage that have begun, by name."""
        folder = self.root / stage
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.is_dir():
                    yield self.trial(stage, path.name)


@dataclass(frozen=True)
class ComparisonFolder:
    """Every file name of a comparison of several sweeps."""

    root: Path

    @property
    def page(self) -> Path:
        return self.root / "COMPARISON.md"

    @property
    def html(self) -> Path:
        return self.root / "comparison.html"

    @property
    def table(self) -> Path:
        return self.root / "comparison.csv"

    @property
    def figures(self) -> Path:
        return self.root / "figures"
