"""Phase 0: what is tried before anything is ranked, and what its outcome means for the sweep.

Always holds: pure decisions on plain data, as the checks themselves give it (`paramalloc.training.overfit` and
`lr_find`, as JSON); a check that has passed is not run again; one that has not stops the sweep with its message.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from paramalloc.files import read_json
from paramalloc.plan import Plan, VariantPlan
from paramalloc.results import ResultsFolder
from paramalloc.sweep.tasks import learning_rates
from paramalloc.training.run import TrainingRun

OVERFIT, LR_FIND = "overfit", "lr_find"
FAR_OFF = 4.0  # a configured learning rate this many times the suggestion, or a fraction of it, is worth a word
_DEFAULT_RATE = 1e-3
_NOT_TRIED = frozenset({"tokens", "batch_size", "micro_batch_size", "learning_rate", "checkpoint_seconds"})


@dataclass(frozen=True)
class Check:
    """One thing to try: whether a variant can memorize, or at which learning rates it learns."""

    kind: Literal["overfit", "lr_find"]
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
        what = [self.kind, asdict(self.run.shape), training, self.run.seed, tokenizer_hash]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def checks(plan: Plan) -> list[Check]:
    """All checks of the sweep, the baseline's first; none when they are switched off."""
    sanity = plan.config.sanity
    if not sanity.enabled:
        return []
    chosen = [item for item in plan.variants if sanity.variants == "all" or item is plan.baseline]
    found = [Check("overfit", item.name, _run(item)) for item in chosen]
    found += [Check("lr_find", item.name, _run(item)) for item in plan.variants if item in chosen or is_auto(item)]
    return found


def is_auto(item: VariantPlan) -> bool:
    return item.variant.training.learning_rate == "auto"


def passed(folder: ResultsFolder, check: Check, tokenizer_hash: str) -> bool:
    """Whether a good result of this very check is there; the commands may have left one of other settings."""
    file = check.file(folder)
    if not file.exists():
        return False
    result = read_json(file)
    return bool(result["passed"]) and result["subject"] == check.subject(tokenizer_hash)


def suggested_rates(plan: Plan, folder: ResultsFolder) -> dict[str, float]:
    """The range test's suggestion for each variant with `learning_rate: auto`."""
    return {item.name: read_json(folder.lr_find(item.name))["suggestion"] for item in plan.variants if is_auto(item)}


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


def _run(item: VariantPlan) -> TrainingRun:
    """The ranking run at the first rate of the file; a check brings learning rates of its own."""
    rate = _DEFAULT_RATE if is_auto(item) else learning_rates(item, {})[0]
    return item.ranking.run(item.variant.training.seed, rate)
