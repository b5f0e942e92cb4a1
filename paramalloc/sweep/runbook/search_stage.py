"""A search beside a grid, as the sweep runs it: what has come out so far, and the round that follows from it.

Always holds: a round is written down as one row of decisions.jsonl before any of it is trained, and rests on the
finished rounds before it alone, so the results folder is all the state there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paramalloc.config import Variant
from paramalloc.plan import Plan
from paramalloc.proposals import Proposal, as_json, make_proposals
from paramalloc.sweep.runbook.decisions import Row
from paramalloc.sweep.runbook.optuna_search import Told, propose
from paramalloc.sweep.runbook.selection import median_latency_ms

Scores = Mapping[str, Mapping[str, Any]]  # by variant: metrics.json of its best ranking run, of those that finished


def next_round(plan: Plan, known: Sequence[Proposal], scores: Scores) -> Row:
    """The `proposals` row of the next round.

    Args:
        plan: of all experiments so far.
        known: the proposals of the rounds before.
        scores: of everything that finished.
    Fields: number (of proposals before), told (trials whose result Optuna knew), proposals, text.
    """
    search = plan.config.search
    assert search is not None
    told = results_so_far(plan, known, scores)
    asked = propose(search, told, len(known), min(search.at_once, plan.to_come))
    found = make_proposals(plan.config, asked, len(known))
    done = sum(item.values is not None for item in told)
    return {
        "number": len(known),
        "told": done,
        "proposals": [as_json(proposal) for proposal in found],
        "text": f"after {done} results Optuna proposes {'; '.join(proposal.in_words() for proposal in found)}",
    }


def results_so_far(plan: Plan, known: Sequence[Proposal], scores: Scores) -> list[Told]:
    """What Optuna is told: experiments of the file that differ in the searched knobs alone, then each proposal."""
    config = plan.config
    assert config.search is not None
    proposed = {proposal.name for proposal in known}
    given = [variant for variant in config.variants if variant.name not in proposed]
    searched = tuple(config.search.ranges)
    file = Variant(name="file", model=config.model, training=config.training)
    return [
        *(
            Told({name: getattr(item.model, name) for name in searched}, _values(scores.get(item.name)))
            for item in given
            if _but_for(searched, item).is_as(_but_for(searched, file))
        ),
        *(Told(proposal.asked, _values(scores.get(proposal.variant or ""))) for proposal in known),
    ]


def _but_for(searched: Sequence[str], variant: Variant) -> Variant:
    return variant.model_copy(update={"model": variant.model.model_copy(update=dict.fromkeys(searched))})


def _values(metrics: Mapping[str, Any] | None) -> tuple[float, float] | None:
    latency = median_latency_ms(metrics) if metrics else None
    return (metrics["dev_bpb"], latency) if metrics and latency is not None else None
