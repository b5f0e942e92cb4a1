"""`profile SWEEP.yaml`: what each variant's shape costs to run and to train on this machine, measured untrained.

Latency, speed and memory do not depend on the weights. On a GPU where there is one, else on as many CPU threads as
a trial of the sweep is given.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from paramalloc.errors import UserError
from paramalloc.results import ResultsFolder
from paramalloc.tables import print_whole

if TYPE_CHECKING:
    from paramalloc.plan import Plan

HELP = "measure latency, speed and memory of a sweep's variants"
_HEADERS = (
    "decode\ntokens/s",
    "training\ntokens/s",
    "forward\nMFLOPs/token",
    "training\nMFLOPs/token",
    "MFU",
    "peak\nMB",
)
_NOT_MEASURED = "-"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sweep", type=Path, metavar="SWEEP.yaml")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=c", help="override a value of the file")
    parser.add_argument("--results", type=Path, metavar="DIR", help="default: results/<name of the sweep>")
    parser.add_argument("--variant", nargs="+", metavar="NAME", help="only these (default: all)")
    parser.add_argument("--json", action="store_true", help="print every figure as JSON")


def run(options: argparse.Namespace, console: Console) -> None:
    from paramalloc.sweep.runbook.plan_so_far import plan_so_far
    from paramalloc.sweep_file import load_sweep

    config = load_sweep(options.sweep, options.set)
    plan = plan_so_far(config, ResultsFolder(options.results or Path("results") / config.name))
    names = _chosen(plan, options.variant)
    with console.status("measuring"):
        profiles, where = _measure(plan, names)
    if options.json:
        console.print(json.dumps(profiles, indent=2, allow_nan=False), markup=False, highlight=False, soft_wrap=True)
    else:
        _print_table(profiles, where, console)


def _chosen(plan: Plan, wanted: list[str] | None) -> list[str]:
    """Errors: UserError for a name that no variant has."""
    names = [variant.name for variant in plan.variants]
    for name in wanted or []:
        if name not in names:
            raise UserError("--variant", f"'{name}'", f"allowed: {', '.join(names)}")
    return wanted or names


def _measure(plan: Plan, names: list[str]) -> tuple[dict[str, dict[str, Any]], str]:
    """The variants' profiles, and the device and precision they were measured in: the baseline's, as in a sweep."""
    import torch

    from paramalloc.evaluation.profile import profile_variants
    from paramalloc.numerics import choose_numerics

    config = plan.config
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    numerics = choose_numerics(plan.baseline.variant.training.precision, device)
    threads = max(1, int(config.resources.cpus_per_trial))
    torch.set_num_threads(threads)
    runs = {name: plan[name].ranking.run(seed=0, learning_rate=1e-3) for name in names}
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {threads} thread(s)"
    return profile_variants(runs, config.evaluation, numerics), f"{where}, {numerics.precision}"


def _print_table(profiles: dict[str, dict[str, Any]], where: str, console: Console) -> None:
    measured = {length for each in profiles.values() for length, latency in each["latency_ms"].items() if latency}
    lengths = sorted(measured, key=int)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("variant", overflow="fold")
    for header in (*(f"ms at {length}\np50 / p95 / p99" for length in lengths), *_HEADERS):
        table.add_column(header, justify="right", no_wrap=True)
    for name, profile in profiles.items():
        table.add_row(name, *_cells(profile, lengths))
    print_whole(table, console)
    prompts = " or ".join(
        str(tokens) for tokens in sorted({each["decode_prompt_tokens"] for each in profiles.values()})
    )
    first = next(iter(profiles.values()))
    for line in (
        f"\n{where}; batch 1 but for training; decoding with a key-value cache after {prompts} tokens",
        _load_in_words(first["alone"], first["other_load_cores"]),
    ):
        console.print(line, highlight=False, soft_wrap=True)


def _cells(profile: dict[str, Any], lengths: Sequence[str]) -> list[str]:
    latencies = [profile["latency_ms"].get(length) for length in lengths]
    return [
        *(" / ".join(f"{value:.3g}" for value in each.values()) if each else _NOT_MEASURED for each in latencies),
        *(f"{profile[f'{kind}_tokens_per_second']:,.0f}" for kind in ("decode", "training")),
        *(f"{profile[f'{kind}_flops_per_token'] / 1e6:,.2f}" for kind in ("forward", "train")),
        f"{profile['mfu']:.1%}" if profile["mfu"] is not None else _NOT_MEASURED,
        f"{profile['peak_memory_mb']:,.1f}" if profile["peak_memory_mb"] is not None else _NOT_MEASURED,
    ]


def _load_in_words(alone: bool | None, other_cores: float | None) -> str:
    if alone is None or other_cores is None:
        return "whether the machine was busy otherwise cannot be told here"
    if alone:
        return f"measured alone: other processes kept {other_cores:.2f} cores busy"
    return f"[yellow]not alone[/]: other processes kept {other_cores:.2f} cores busy (or used the GPU); take care"
