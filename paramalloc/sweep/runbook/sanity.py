"""Phase 0: what is tried before anything is ranked, and what its outcome means for the sweep.

Always holds: pure decisions on plain data, as the checks themselves give it (`paramalloc.training.overfit` and
`lr_find`, as JSON); a check that has passed is not run again, whether the sweep ran it or a command did; one that
has not stops the sweep with its message. What `learning_rate: auto` has come to is a row of decisions.jsonl, which
holds even if the range test is run again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from paramalloc.files import read_json, read_jsonl
from paramalloc.plan import Plan, StagePlan, VariantPlan
from paramalloc.results import ResultsFolder
from paramalloc.sweep.runbook.decisions import LEARNING_RATE, Row
from paramalloc.sweep.trials.tasks import learning_rates
from paramalloc.training.run import TrainingRun

Kind = Literal["overfit", "lr_find"]
OVERFIT: Final = "overfit"
LR_FIND: Final = "lr_find"
CHECK_VERSION = 1  # raise it when a model, its training or a check changes: older outcomes then count no more
FAR_OFF = 4.0  # a configured learning rate this many times the suggestion, or a fraction of it, is worth a word
_DEFAULT_RATE = 1e-3
_NOT_TRIED = frozenset({"tokens", "batch_size", "micro_batch_size", "compile", "learning_rate", "checkpoint_seconds"})


@dataclass(frozen=True)
class Check:
    """One thing to try: whether a variant can memorize, or at which learning rates it learns."""

    kind: Kind
    variant: str
    run: TrainingRun

    @property
    def name(self) -> str:
        """Names the check in the ledger, within the sanity stage."""
        return f"{self.kind}-{self.variant}"

    def file(self, folder: ResultsFolder) -> Path:
        return folder.overfit(self.variant) if self.kind == OVERFIT else folder.lr_find(self.variant)

    def subject(self, tokenizer_hash: str) -> str:
        """SHA-256 of all that the outcome depends on; the tokenizer's hash stands for the text it was trained on."""
        training = self.run.training.model_dump(mode="json", exclude=set(_NOT_TRIED))
        what = [CHECK_VERSION, self.kind, asdict(self.run.shape), training, self.run.seed, tokenizer_hash]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def checks(plan: Plan, stage: StagePlan) -> list[Check]:
    """All checks before a stage, its baseline's first; none when they are switched off.

    `sanity.variants: baseline` means that of the whole sweep: stages are built on what has trained already.
    """
    sanity = plan.config.sanity
    if not sanity.enabled:
        return []
    chosen = [item for item in stage.variants if sanity.variants == "all" or item.name == plan.baseline.name]
    found = [check_of(OVERFIT, item) for item in chosen]
    found += [check_of(LR_FIND, item) for item in stage.variants if item in chosen or is_auto(item)]
    return found


def check_of(kind: Kind, item: VariantPlan) -> Check:
    """The check of a variant's ranking run at the first rate of the file; it brings learning rates of its own."""
    rate = _DEFAULT_RATE if is_auto(item) else learning_rates(item, {})[0]
    return Check(kind, item.name, item.ranking.run(item.variant.training.seed, rate))


def is_auto(item: VariantPlan) -> bool:
    return item.variant.training.learning_rate == "auto"


def passed(folder: ResultsFolder, check: Check, tokenizer_hash: str) -> bool:
    """Whether a good result of this very check is there: none of other settings, and no file that is damaged."""
    file = check.file(folder)
    if not file.exists():
        return False
    try:
        result = read_json(file)
        return bool(result["passed"]) and result["subject"] == check.subject(tokenizer_hash)
    except (ValueError, KeyError, TypeError):  # no JSON, no object, or one that lacks what is asked for
        return False


def rate_decisions(stage: StagePlan, folder: ResultsFolder) -> list[Row]:
    """The rows that decisions.jsonl lacks, once all checks have passed: one for each new `learning_rate: auto`.

    Fields: decision (`learning_rate`), variant, suggestion (the peak learning rate), reason (the range test's words).
    """
    decided = _decided_rates(folder)
    rows = []
    for item in stage.variants:
        if is_auto(item) and item.name not in decided:
            result = read_json(folder.lr_find(item.name))
            about = {"variant": item.name, "suggestion": result["suggestion"], "reason": result["message"]}
            rows.append({"decision": LEARNING_RATE, **about})
    return rows


def suggested_rates(stage: StagePlan, folder: ResultsFolder) -> dict[str, float]:
    """The learning rate of each variant with `learning_rate: auto`, once `rate_decisions` have been recorded."""
    decided = _decided_rates(folder)
    return {item.name: decided[item.name] for item in stage.variants if is_auto(item)}


def rate_warning(item: VariantPlan, result: dict[str, Any]) -> str | None:
    """What the range test has to say against the learning rates of the sweep file, None where it has nothing."""
    suggestion = result["suggestion"]
    if is_auto(item) or suggestion is None:
        return None
    off = [rate for rate in learning_rates(item, {}) if not suggestion / FAR_OFF <= rate <= suggestion * FAR_OFF]
    if not off:
        return None
    named = ", ".join(f"{rate:g}" for rate in off)
    return f"{item.name}: learning rate {named} is far from the {suggestion:.2g} that its range test suggests"


def _decided_rates(folder: ResultsFolder) -> dict[str, float]:
    """By variant; none is decided twice."""
    rows = [row for row in read_jsonl(folder.decisions) if row["decision"] == LEARNING_RATE]
    return {row["variant"]: row["suggestion"] for row in rows}
