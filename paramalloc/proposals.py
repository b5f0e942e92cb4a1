"""What Optuna has proposed, as experiments: each proposal made into the nearest allocation that has a shape.

Always holds: pure functions of plain data; a proposal stands in a `proposals` row of decisions.jsonl before it is
trained; one whose shape another variant has already is not trained again, and one without a shape is only counted.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from paramalloc.allocation import Shape, nearest_request, solve
from paramalloc.config import Experiment, SweepConfig

PROPOSALS = "proposals"  # the rows of decisions.jsonl
_WORDS = {"embedding_ratio": "share {:.1%}", "glu_expansion": "expansion {:.2f}", "vocab_size": "vocabulary {:,}"}
Knobs = Mapping[str, float]


@dataclass(frozen=True)
class Proposal:
    """One of the search's trials.

    `asked`: the searched knobs as they were proposed; `made`: as its shape has them, None where there is no shape;
    `same_as`: the variant that is this very allocation.
    """

    name: str
    asked: Knobs
    made: Knobs | None
    same_as: str | None = None

    @property
    def variant(self) -> str | None:
        """The variant whose result is the proposal's; None without a shape."""
        return (self.same_as or self.name) if self.made is not None else None

    @property
    def experiment(self) -> Experiment | None:
        """What it adds to the sweep."""
        if self.made is None or self.same_as is not None:
            return None
        return Experiment.model_validate({"name": self.name, **self.made})

    def in_words(self) -> str:
        if self.made is None:
            return f"{self.name} has no shape ({_knobs_in_words(self.asked)})"
        same = f" is {self.same_as}" if self.same_as else ""
        return f"{self.name}{same} ({_knobs_in_words(self.made)})"


def make_proposals(config: SweepConfig, asked: Sequence[Knobs], number: int) -> list[Proposal]:
    """The proposals of a round made feasible.

    Args:
        config: with all experiments so far.
        asked: the searched knobs, as proposed.
        number: how many proposals there were before.
    """
    same_training = [variant for variant in config.variants if variant.training == config.training]
    known: dict[Shape, str] = {}
    for variant in same_training:
        known.setdefault(solve(variant.model), variant.name)
    found = []
    for rank, knobs in enumerate(asked, start=number + 1):
        proposal = Proposal(f"p{rank:02d}", knobs, None)
        model = nearest_request(config.model.model_copy(update=dict(knobs)))
        if model is not None:
            made, shape = {name: getattr(model, name) for name in _WORDS}, solve(model)
            proposal = Proposal(proposal.name, knobs, made, known.get(shape))
            known.setdefault(shape, proposal.name)
        found.append(proposal)
    return found


def corner_shapes(config: SweepConfig) -> list[Shape]:
    """The shapes where every searched knob is at one end of its range, as far as there are any."""
    assert config.search is not None
    ranges = config.search.ranges
    asked = (dict(zip(ranges, ends, strict=True)) for ends in itertools.product(*ranges.values()))
    models = (nearest_request(config.model.model_copy(update=knobs)) for knobs in asked)
    return [solve(model) for model in models if model is not None]


def proposals_in(rows: Iterable[Mapping[str, Any]]) -> list[Proposal]:
    """All proposals that rows of decisions.jsonl tell of, in their order."""
    return [Proposal(**item) for row in rows if row["decision"] == PROPOSALS for item in row["proposals"]]


def as_json(proposal: Proposal) -> dict[str, Any]:
    return asdict(proposal)


def with_proposals(config: SweepConfig, proposals: Iterable[Proposal]) -> SweepConfig:
    """The sweep with what was proposed among its experiments."""
    experiments = [proposal.experiment for proposal in proposals]
    more = [experiment for experiment in experiments if experiment is not None]
    return config.with_experiments(more) if more else config


def _knobs_in_words(knobs: Knobs) -> str:
    """`share 21.3%, expansion 2.40, vocabulary 8,000`."""
    return ", ".join(text.format(knobs[name]) for name, text in _WORDS.items() if name in knobs)
