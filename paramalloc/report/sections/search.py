"""The report's section on a search: what was looked for, the front it found, and how it grew.

Always holds: pure text from loaded results; nothing for a sweep without a search.
"""

from __future__ import annotations

from paramalloc.formats import count_of, listed, percent, significant
from paramalloc.report.blocks import markdown_table
from paramalloc.report.load import SweepResults
from paramalloc.report.search import Found, fruitless, hypervolume, rounds, searched, searched_in_words
from paramalloc.report.variants import VariantResult

_HEADS = [
    "front, the fastest first", "share", "expansion", "vocabulary", "d_model / L / H / d_ff", "dev bpb",
    "latency p50, ms",
]  # fmt: skip


def search_section(results: SweepResults, variants: list[VariantResult]) -> list[str]:
    """Heading, what was searched, the table of the front and what it covers."""
    found = searched(variants)
    if not results.config.search or not found:
        return []
    best = sorted((item for item in found if item.on_front), key=lambda item: item.latency_ms)
    return [
        "## Search",
        " ".join([*searched_in_words(results), _counted(results)]),
        markdown_table(_HEADS, [_row(item) for item in best], left=1),
        f"{_covered(results, found)} All of it rests on the ranking runs, one seed each: neighbours on the front may "
        "change places with another seed. Latency is that of a pass over so many tokens, which hold more text in a "
        "larger vocabulary. Nobody was stopped early, since who is behind in one aim may be ahead in the other.",
    ]


def _counted(results: SweepResults) -> str:
    shapeless, repeated = fruitless(results)
    number = sum(len(row["proposals"]) for row in results.decisions if row["decision"] == "proposals")
    said = [
        *([f"{len(shapeless)} had no shape"] if shapeless else []),
        *([f"{len(repeated)} came to a shape that was there already"] if repeated else []),
    ]
    return f"It made {count_of(number, 'proposal')}" + (f", of which {listed(said)}." if said else ".")


def _covered(results: SweepResults, found: list[Found]) -> str:
    whole = hypervolume(found)
    if whole is None:
        return ""
    growth = []
    for number, names in rounds(results):
        known = [item for item in found if item.name in names]
        growth.append(f"{percent(hypervolume(known, of=found), 0)} after {number}" if known else "")
    return (
        f"Hypervolume: the front dominates {percent(whole, 1)} of the box between the best and the worst value of "
        f"either aim ({', '.join(text for text in growth if text)} proposals)."
    )


def _row(item: Found) -> list[str]:
    plan = item.plan
    return [
        item.name,
        percent(plan["embedding_share"]),
        f"{plan['glu_expansion']:.2f}",
        f"{plan['vocab_size']:,}",
        " / ".join(str(plan[key]) for key in ("d_model", "n_layers", "n_heads", "d_ff")),
        significant(item.bpb),
        significant(item.latency_ms, 3),
    ]
