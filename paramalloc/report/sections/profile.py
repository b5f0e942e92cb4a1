"""The report's section on speed: latency, decoding, training speed, FLOPs, MFU and memory of each variant.

Always holds: values are medians over the finalists (side by side, once training was over) or else the ranking run's,
among its neighbours; what was not measured is a dash.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from paramalloc.formats import percent, significant
from paramalloc.report.blocks import markdown_table
from paramalloc.report.variants import VariantResult

_QUANTILES = ("p50", "p95", "p99")
_HEADS = [
    "decode tokens/s", "training tokens/s, measured apart", "forward MFLOPs per token", "training MFLOPs per token",
    "MFU", "peak memory, MB",
]  # fmt: skip
_NOTE = (
    "Latency is of one forward pass at batch 1; decoding is with a key-value cache at batch 1. FLOPs count two for "
    "each multiplication and addition, training three times the forward pass. MFU, model FLOPs utilization, is the "
    "share of the device's peak that training reached; a dash where that peak is not known, as on a CPU. Of variants "
    "that were not in the final, all is of the ranking run, among the trials beside it."
)


def profile_section(variants: list[VariantResult]) -> list[str]:
    """Heading, table and note; nothing before a run has finished."""
    measured = [variant for variant in variants if variant.measured]
    if not measured:
        return []
    latencies = [run["latency_ms"] or {} for variant in measured for run in variant.measured]
    lengths = sorted({length for known in latencies for length, value in known.items() if value}, key=int)
    heads = ["variant", *(f"latency p50 / p95 / p99 at {length} tokens, ms" for length in lengths), *_HEADS]
    rows = [_row(variant, lengths) for variant in measured]
    return ["## Speed and memory", markdown_table(heads, rows, left=1) + "\n\n" + _NOTE]


def _row(variant: VariantResult, lengths: Sequence[str]) -> list[str]:
    training_flops = _median(variant, "train_flops_per_token") or variant.plan["flops_per_token"]
    return [
        variant.label,
        *(" / ".join(significant(_latency(variant, length, q), 3) for q in _QUANTILES) for length in lengths),
        significant(_median(variant, "decode_tokens_per_second"), 3),
        significant(_median(variant, "training_tokens_per_second") or variant.tokens_per_second, 3),
        significant(_millions(_median(variant, "forward_flops_per_token")), 3),
        significant(_millions(training_flops), 3),
        percent(_median(variant, "mfu")),
        significant(_median(variant, "peak_memory_mb"), 3),
    ]


def _median(variant: VariantResult, field: str) -> float | None:
    known = [metrics[field] for metrics in variant.measured if metrics[field] is not None]
    return median(known) if known else None


def _latency(variant: VariantResult, length: str, quantile: str) -> float | None:
    known = [metrics["latency_ms"].get(length) for metrics in variant.measured if metrics["latency_ms"]]
    values = [quantiles[quantile] for quantiles in known if quantiles]
    return median(values) if values else None


def _millions(value: float | None) -> float | None:
    return None if value is None else value / 1e6
