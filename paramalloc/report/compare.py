"""Several sweeps side by side: a row for each finalist of each sweep, and one figure of them all.

Always holds: sweeps keep their own verdicts, nothing is pooled over them; scores are bits per byte, which compare
across tokenizers but only on the same dev text, so sweeps on another text are named.
`build_comparison(folders, out)`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from matplotlib.figure import Figure

from paramalloc.errors import UserError
from paramalloc.files import atomic_write
from paramalloc.formats import DASH, compact, listed, millions, percent, significant, usd, with_spread
from paramalloc.report.blocks import bullets, markdown_table
from paramalloc.report.figures.pictures import Picture, gallery
from paramalloc.report.figures.style import (
    few_round_ticks,
    looks,
    new_figure,
    plain_ticks,
    save,
    save_svg,
    short_name,
    style,
)
from paramalloc.report.html import render_page
from paramalloc.report.load import SweepResults, load_results
from paramalloc.report.markdown import joined
from paramalloc.report.variants import VariantResult, variant_results
from paramalloc.results import ComparisonFolder, ResultsFolder

_HEADS = [
    "sweep", "variant", "params", "share", "expansion", "vocabulary", "final tokens", "final dev bpb",
    "final test bpb", "latency p50, ms", "verdict",
]  # fmt: skip
_CSV_FIELDS = (
    "sweep", "variant", "is_baseline", "is_winner", "total_params", "embedding_share", "glu_expansion", "vocab_size",
    "final_tokens", "seeds", "dev_bpb_mean", "dev_bpb_sd", "test_bpb_mean", "latency_ms", "dev_sha256",
)  # fmt: skip
_PLANNED = ("total_params", "embedding_share", "glu_expansion", "vocab_size")
_FIGURE = Picture("bpb_by_sweep", "bits per byte on all of dev of every finalist (mean ± sd over seeds), by sweep")
_ROW_INCHES, _FRAME_INCHES = 0.19, 0.7


def build_comparison(folders: Sequence[ResultsFolder], out: ComparisonFolder) -> None:
    """Write the comparison's page (Markdown and HTML), table (CSV) and figure into `out`.

    Errors: UserError when a folder holds no sweep's results.
    """
    sweeps = _named_apart([load_results(folder) for folder in folders])
    atomic_write(out.table, comparison_csv(sweeps))
    with style():
        figure = draw_sweeps(sweeps)
        svgs = {}
        if figure:
            save(figure, out.figures, _FIGURE.name)
            svgs = {_FIGURE.name: save_svg(figure).decode()}
    page = render_comparison(sweeps, [_FIGURE] if figure else [])
    atomic_write(out.page, page)
    atomic_write(out.html, render_page(page, svgs))


def _named_apart(sweeps: list[SweepResults]) -> dict[str, SweepResults]:
    """By the sweep's name; of equal ones the later get a number."""
    named: dict[str, SweepResults] = {}
    for sweep in sweeps:
        name, number = sweep.config.name, 1
        while name in named:
            number += 1
            name = f"{sweep.config.name} ({number})"
        named[name] = sweep
    return named


def render_comparison(sweeps: dict[str, SweepResults], pictures: Sequence[Picture]) -> str:
    """The page, in Markdown."""
    rows = [row for name, sweep in sweeps.items() for row in _rows(name, sweep)]
    verdicts = [f"**{name}**: {_verdict(sweep)}" for name, sweep in sweeps.items()]
    costs = [[name, *_cost(sweep)] for name, sweep in sweeps.items()]
    return joined(
        [
            f"# {len(sweeps)} sweeps compared",
            bullets(verdicts),
            "## Finalists",
            markdown_table(_HEADS, rows, left=2) if rows else "No sweep has a finished finalist yet.",
            _caution(sweeps),
            gallery(pictures),
            "## Cost",
            markdown_table(["sweep", "trials", "tokens trained", "node-hours", "USD"], costs, left=1),
        ]
    )


def comparison_csv(sweeps: dict[str, SweepResults]) -> str:
    """One row for each finalist of each sweep, a header line first; what is not known is empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for name, sweep in sweeps.items():
        for variant in _finalists(sweep):
            dev, test = variant.over_seeds("dev_bpb"), variant.over_seeds("test_bpb")
            writer.writerow(
                {field: variant.plan[field] for field in _PLANNED}
                | {
                    "sweep": name,
                    "variant": variant.name,
                    "is_baseline": variant.is_baseline,
                    "is_winner": _won(sweep, variant),
                    "final_tokens": variant.plan["final"]["tokens"],
                    "seeds": dev.n,
                    "dev_bpb_mean": dev.mean,
                    "dev_bpb_sd": dev.sd,
                    "test_bpb_mean": test.mean,
                    "latency_ms": variant.latency_ms[1] if variant.latency_ms else None,
                    "dev_sha256": _dev_text(sweep),
                }
            )
    return stream.getvalue()


def draw_sweeps(sweeps: dict[str, SweepResults]) -> Figure | None:
    """A row for each finalist, grouped by sweep, on one axis of bits per byte; None without a finalist."""
    groups = {name: sorted(_scored(sweep)) for name, sweep in sweeps.items()}
    rows = [(name, *row) for name, group in groups.items() for row in group]
    if not rows:
        return None
    figure = new_figure(_FRAME_INCHES + _ROW_INCHES * len(rows))
    axes = figure.subplots()
    for place, (name, bpb, variant, sd) in enumerate(rows):
        config = sweeps[name].config
        look = looks([each.name for each in config.variants], config.baseline_name)[variant]
        axes.errorbar(bpb, place, xerr=sd, fmt=look.marker, color=look.color, ms=4.5, capsize=2.5, elinewidth=1)
    for place, (before, after) in enumerate(pairwise(rows)):
        if before[0] != after[0]:
            axes.axhline(place + 0.5, color="#bbbbbb", lw=0.6)
    labels = [f"{short_name(name)}: {short_name(variant)}" for name, _, variant, _ in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(visible=True, axis="x")
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(few_round_ticks(4))
    plain_ticks(axes.xaxis)
    axes.set_xlabel("dev bits per byte")
    return figure


def _scored(sweep: SweepResults) -> Iterator[tuple[float, str, float | None]]:
    """Mean bits per byte, name and standard deviation of each finalist."""
    for variant in _finalists(sweep):
        score = variant.over_seeds("dev_bpb")
        if score.mean is not None:
            yield score.mean, variant.name, score.sd


def _rows(name: str, sweep: SweepResults) -> list[list[str]]:
    rows = []
    for variant in _finalists(sweep):
        plan, dev, test = variant.plan, variant.over_seeds("dev_bpb"), variant.over_seeds("test_bpb")
        rows.append(
            [
                name,
                f"**{variant.label}**" if _won(sweep, variant) else variant.label,
                compact(plan["total_params"]),
                percent(plan["embedding_share"]),
                f"{plan['glu_expansion']:.2f}",
                f"{plan['vocab_size']:,}",
                millions(plan["final"]["tokens"]),
                with_spread(dev.mean, dev.sd),
                with_spread(test.mean, test.sd),
                significant(variant.latency_ms[1] if variant.latency_ms else None, 3),
                _place(sweep, variant),
            ]
        )
    return rows


def _finalists(sweep: SweepResults) -> list[VariantResult]:
    return [variant for variant in variant_results(sweep) if variant.finished_finals]


def _won(sweep: SweepResults, variant: VariantResult) -> bool:
    winner = sweep.decided("winner")
    return bool(winner and winner["winner"] == variant.name)


def _place(sweep: SweepResults, variant: VariantResult) -> str:
    if not _won(sweep, variant):
        return ""
    return "baseline, not beaten" if variant.is_baseline else "wins"


def _verdict(sweep: SweepResults) -> str:
    winner = sweep.decided("winner")
    return winner["sentence"] if winner else "no verdict yet."


def _cost(sweep: SweepResults) -> list[str]:
    tokens = sum(trial.tokens for trial in sweep.trials)
    if sweep.cost is None:
        return [str(len(sweep.trials)), millions(tokens), DASH, DASH]
    return [str(len(sweep.trials)), millions(tokens), f"{sweep.cost['node_hours']:.2f}", usd(sweep.cost["total_usd"])]


def _dev_text(sweep: SweepResults) -> str | None:
    return sweep.manifest["splits"]["dev"]["sha256"] if sweep.manifest else None


def _caution(sweeps: dict[str, SweepResults]) -> str:
    """What does not compare, said where it is so."""
    texts: dict[str | None, list[str]] = {}
    for name, sweep in sweeps.items():
        texts.setdefault(_dev_text(sweep), []).append(name)
    said = ["Scores are means ± sd over seeds; a winner is its own sweep's. Seeds are not paired across sweeps."]
    if len(texts) > 1 or None in texts:
        groups = "; ".join(listed(names) for names in texts.values())
        said.append(f"**Not all were scored on the same dev text**, and their scores do not compare: {groups}.")
    budgets = {v.plan["final"]["tokens"] for sweep in sweeps.values() for v in _finalists(sweep)}
    if len(budgets) > 1:
        said.append(f"Budgets differ ({listed([millions(tokens) for tokens in sorted(budgets)])} tokens).")
    return " ".join(said)


def default_out(folders: Sequence[ResultsFolder]) -> Path:
    """`comparison` beside the first sweep's folder. Errors: UserError when that is a sweep's results itself."""
    out = folders[0].root.resolve().parent / "comparison"
    if ResultsFolder(out).sweep.exists():
        raise UserError(str(out), "the results of a sweep of that name", "give --out another folder")
    return out
