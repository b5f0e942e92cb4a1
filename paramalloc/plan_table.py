"""The plan for a person: shapes of every stage, then tokens, steps, epochs and FLOPs, then warnings.

Always holds: it prints what `paramalloc.plan` has worked out, and nothing of its own.
`python tune_main.py SWEEP.yaml --plan`.
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from paramalloc.allocation import flops_per_token, print_param_table
from paramalloc.plan import CorpusSize, Plan, epochs, rates_tried, stage_in_words
from paramalloc.plan_warnings import warnings
from paramalloc.results import FINALISTS
from paramalloc.tables import print_whole


def print_plan(plan: Plan, size: CorpusSize, console: Console) -> None:
    """The plan for a person: shapes and parameters, then tokens, steps and epochs, then warnings."""
    config = plan.config
    console.print(f"[bold]{config.name}[/]: {len(plan.variants)} variants, baseline {plan.baseline.name}")
    for stage in plan.stages:
        if len(plan.stages) > 1:
            console.print(stage_in_words(stage), highlight=False, soft_wrap=True)
        print_param_table({item.name: item.shape for item in stage.variants}, console)
        console.print()
    if plan.to_come:
        console.print(_search_in_words(plan), highlight=False, soft_wrap=True)
        console.print()
    print_whole(_budget_table(plan, size), console)
    console.print()
    about = "~" if size.estimated else ""
    console.print(
        f"corpus {config.data.corpus}: "
        + ", ".join(f"{about}{tokens:,} tokens at V={size_}" for size_, tokens in size.train_tokens.items())
        + (" (estimated until the text is prepared)" if size.estimated else "")
        + f"; at most {plan.most_challengers + 1} finalists x {len(config.finalists.seeds)} seeds"
    )
    for warning in warnings(plan, size):
        console.print(f"[yellow]warning:[/] {warning}")


def _search_in_words(plan: Plan) -> str:
    search = plan.config.search
    assert search is not None
    spans = [
        f"{name} {low:,} to {high:,}" + (f" by {search.vocab_step:,}" if name == "vocab_size" else "")
        for name, (low, high) in search.ranges.items()
    ]
    return (
        f"search: Optuna proposes {plan.to_come} more variants, {search.at_once} at a time, for few bits per byte "
        f"and a low latency: {', '.join(spans)}"
    )


def _budget_table(plan: Plan, size: CorpusSize) -> Table:
    """A row per variant and stage; `most runs` is what the final costs should the variant be promoted."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    headers = ("variant", "stage", "most runs", "Mtokens", "steps", "tokens/step", "epochs", "FLOPs")
    table.add_column(headers[0], overflow="fold")
    for header in headers[1:]:
        table.add_column(header, justify="left" if header == "stage" else "right", no_wrap=True)
    about = "~" if size.estimated else ""
    seeds = len(plan.config.finalists.seeds)
    for ranking, item in [(stage.name, item) for stage in plan.stages for item in stage.variants]:
        for name, run, runs in ((ranking, item.ranking, rates_tried(item)), (FINALISTS, item.final, seeds)):
            tokens = run.total_tokens
            table.add_row(
                item.name if name == ranking else "",
                name,
                str(runs),
                f"{tokens / 1e6:,.2f}",
                f"{run.total_steps:,}",
                f"{run.step_tokens:,}",
                f"{about}{epochs(run, size):.2f}",
                f"{flops_per_token(item.shape) * tokens:.2e}",
            )
    return table
