"""The report's section on money: sums, savings, prices, the budget's words, and figures only of what was spent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cost import ledger, summarize
from paramalloc.files import append_jsonl, read_json, read_jsonl, write_json
from paramalloc.report import build_report
from paramalloc.report.load import load_results
from paramalloc.report.sections.cost import cost_section
from paramalloc.results import RANKING, ResultsFolder

from .conftest import Sweep

MARKET = {"instance_type": "g5.xlarge", "zone": "us-east-1a"}


def table(text: str, head: str) -> dict[str, list[str]]:
    """Cells by the first one, of the table with this heading."""
    lines = text[text.index(f"| {head} |") :].split("\n\n")[0].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


def section_of(folder: ResultsFolder) -> str:
    return "\n\n".join(cost_section(load_results(folder), "GALLERY"))


def rented(new_sweep: Callable[..., Sweep], shares: list[dict[str, Any]]) -> Sweep:
    """Half an hour on a spot machine whose price rises after a quarter."""
    sweep = new_sweep(shares)
    sweep.begin()
    sweep.folder.events.unlink()
    sweep.bill(ledger.session_start)
    node = {"node": "laptop", "kind": "worker", "gpus": 1.0, "cpus": 4.0, "lifecycle": "spot", **MARKET}
    sweep.bill(ledger.node_up, **node)
    for lifecycle, after, usd in (("spot", 0, 0.40), ("spot", 900, 0.48), ("on-demand", 0, 1.0)):
        about = MARKET | {"lifecycle": lifecycle, "source": "test"}
        append_jsonl(sweep.folder.events, ledger.price(time=sweep.clock + after, usd_per_hour=usd, **about))
    sweep.trial(RANKING, "emb35", final_ppl=312.0)
    return sweep


def test_lines_of_uses_and_variants_are_those_of_the_summary(embed_report: ResultsFolder) -> None:
    text, cost = section_of(embed_report), read_json(embed_report.cost_summary)
    for head, lines in (
        ("use", cost["by_use"].items()),
        ("variant", [(v["variant"], v) for v in cost["by_variant"]]),
    ):
        printed = {name: cells[0] for name, cells in table(text, head).items()}
        assert printed == {name.replace("_", " "): f"${line['usd']:,.2f}" for name, line in lines}
    assert "- Saved by stopping losers early: unknown (emb45)" in text  # this summary was given no token budgets
    assert "market" not in text
    assert text.endswith("GALLERY")


def test_what_was_saved_and_what_is_to_come_stand_on_lines_of_their_own(
    new_sweep: Callable[..., Sweep], shares: list[dict[str, Any]]
) -> None:
    sweep = rented(new_sweep, shares)
    sweep.bill(ledger.session_end)
    summary = summarize(
        read_jsonl(sweep.folder.events),
        budget_usd=1.0,
        now=sweep.clock,
        fixed_usd_per_hour=None,
        tokens_by_trial={(RANKING, "emb35"): 4_000_000},
        remaining_tokens_by_trial={(RANKING, "emb25"): 8_000_000},
    )
    write_json(sweep.folder.cost_summary, summary)
    append_jsonl(
        sweep.folder.events, {"event": "budget_stop", "time": sweep.clock, "text": "stopped at the budget: so"}
    )
    text = section_of(sweep.folder)
    assert "Total $0.22 of a budget of $1.00" in text  # 15 min x 0.40 + 15 min x 0.48
    assert "A million tokens cost $0.0550, boot, idle and head included." in text
    assert "- Saved by spot instances: $0.28 ($0.22 for what costs $0.50 on demand)" in text
    assert "- Projected to the end: $0.66 ($0.44 for 8.0M tokens to go)" in text
    assert "- Stopped at the budget: so" in text
    assert table(text, "market")["spot g5.xlarge"] == ["us-east-1a", "2", "0.4000", "0.4800", "0.4800"]
    assert table(text, "variant")["emb35"][3:] == ["4.00M", "$0.0275"]  # half of the machine


def test_figures_are_drawn_of_what_was_spent_and_sampled(
    new_sweep: Callable[..., Sweep], shares: list[dict[str, Any]], embed_report: ResultsFolder
) -> None:
    names = {path.stem for path in embed_report.figures.glob("*.png")}
    assert {"spending", "usd_vs_bpb"} <= names
    assert "prices" not in names
    sweep = rented(new_sweep, shares)
    sweep.close()
    build_report(sweep.folder)
    drawn = {path.stem for path in sweep.folder.figures.glob("*.svg")}
    assert drawn & {"spending", "prices", "usd_vs_bpb"} == {"spending", "prices"}  # one variant is no comparison
    assert "(figures/prices.png)" in sweep.folder.results_page.read_text()


def test_a_machine_that_costs_nothing_has_no_figure_of_money(
    new_sweep: Callable[..., Sweep], shares: list[dict[str, Any]]
) -> None:
    sweep = new_sweep(shares)
    sweep.begin()
    sweep.trial(RANKING, "emb35", final_ppl=312.0)
    sweep.close(fixed_usd_per_hour=0.0)
    build_report(sweep.folder)
    assert not (sweep.folder.figures / "spending.png").exists()
    text = section_of(sweep.folder)
    assert "on machines that cost nothing (`cost.fixed_usd_per_hour` is 0)." in text
    assert "$" not in text
    assert table(text, "use")["useful"] == table(text, "variant")["emb35"][:2]
