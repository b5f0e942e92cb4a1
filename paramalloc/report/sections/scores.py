"""The table of the finalists' scores on all of dev and test, with their 95 % intervals over documents.

Always holds: values and bounds are means over a variant's finished finalist runs, which all read the same documents;
perplexities are those of each variant's own tokens, so they are left out where tokenizers differ; a score whose
interval is not known stands alone.
"""

from __future__ import annotations

from statistics import mean

from paramalloc.evaluation.units import MIN_DOCUMENTS, is_capped
from paramalloc.formats import perplexity_text, significant
from paramalloc.report.blocks import markdown_table
from paramalloc.report.variants import VariantResult

_HEADS = {"dev_ppl": "dev PPL", "dev_bpb": "dev bpb", "test_ppl": "test PPL", "test_bpb": "test bpb"}
_NOTE = (
    "In brackets: the 95% confidence interval over documents (bootstrap). It covers which documents happen to be in "
    "dev and test, not the choice of the seed; scores and bounds are means over seeds. All variants are scored on "
    "the same documents, so a difference can be certain although intervals overlap."
)
_NONE = (
    f"No score has an interval: dev and test have fewer than {MIN_DOCUMENTS} documents each, too few to draw from "
    "(`data.documents` decides what a document is)."
)


def scores_section(variants: list[VariantResult], one_tokenizer: bool) -> list[str]:
    """Heading, table and note; where no finalist has an interval, the reason; nothing without a finalist."""
    fields = [field for field in _HEADS if one_tokenizer or field.endswith("bpb")]
    finalists = [variant for variant in variants if variant.finished_finals]
    if not finalists:
        return []
    if not any(_interval(variant, field) for variant in finalists for field in fields):
        return ["## Final scores with intervals", _NONE]
    rows = [[variant.label, *(_score(variant, field) for field in fields)] for variant in finalists]
    table = markdown_table(["finalist", *(_HEADS[field] for field in fields)], rows, left=1)
    return ["## Final scores with intervals", f"{table}\n\n{_NOTE}"]


def _score(variant: VariantResult, field: str) -> str:
    """`61.42 [60.11, 62.98]`, each to four digits."""
    value, interval = variant.over_seeds(field).mean, _interval(variant, field)
    if value is None or interval is None or is_capped(value):
        return perplexity_text(value)
    return f"{significant(value)} [{significant(interval[0])}, {significant(interval[1])}]"


def _interval(variant: VariantResult, field: str) -> tuple[float, float] | None:
    """Bounds as means over seeds; None where one of them is not known (too few documents)."""
    intervals = [run.metrics[f"{field}_ci95"] for run in variant.finished_finals]
    known = [interval for interval in intervals if interval]
    if not known or len(known) < len(intervals):
        return None
    return mean(low for low, _ in known), mean(high for _, high in known)
