"""The search beside a grid: what it asks for always has a shape, and a resumed one asks for the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from paramalloc.allocation import solve
from paramalloc.config import SearchConfig, SweepConfig
from paramalloc.errors import UserError
from paramalloc.files import append_jsonl, read_json, read_jsonl
from paramalloc.plan import make_plan
from paramalloc.proposals import Proposal, make_proposals, proposals_in
from paramalloc.results import FINALISTS, RANKING, ResultsFolder
from paramalloc.sweep.changes import compare
from paramalloc.sweep.outlook import reserve
from paramalloc.sweep.runbook.decisions import PROMOTE
from paramalloc.sweep.runbook.optuna_search import Told, propose
from paramalloc.sweep.runbook.plan_so_far import plan_so_far
from paramalloc.sweep.runbook.search_stage import next_round, results_so_far
from paramalloc.sweep_file import check_sweep, dump_sweep
from tests.sweep.outcomes import numbers
from tests.sweep.test_end_to_end import run
from tests.sweep.tiny import TINY

RANGES = {"embedding_ratio": [0.1, 0.5], "glu_expansion": [1.5, 5.0], "vocab_size": [300, 600]}
SEARCH = {"trials": 5, "at_once": 2, "vocab_step": 100, **RANGES}


def searching(**sections: Any) -> SweepConfig:
    raw = TINY | {"experiments": [{"name": "base"}], "search": SEARCH}
    return check_sweep(raw | {"ranking": {**TINY["ranking"], "stop": "none"}} | sections)


def made_up_scores(config: SweepConfig) -> dict[str, dict[str, Any]]:
    """Smooth aims that pull in opposite directions: wide models are better, and slower."""
    return {
        variant.name: {
            "dev_bpb": 2.0 + abs(variant.model.embedding_ratio - 0.3) + 100 / variant.model.vocab_size,
            "latency_ms": {"32": {"p50": variant.model.glu_expansion + variant.model.vocab_size / 300}},
        }
        for variant in config.variants
    }


def search(config: SweepConfig, file: Path, rounds: int) -> list[Proposal]:
    """So many rounds of a search that leaves nothing but its rows in `file`, each by a driver that is new."""
    for _ in range(rounds):
        known = proposals_in(read_jsonl(file))
        plan = make_plan(config, proposals=known)
        append_jsonl(file, {"decision": "proposals", **next_round(plan, known, made_up_scores(plan.config))})
    return proposals_in(read_jsonl(file))


def test_a_search_that_was_cut_proposes_what_an_uninterrupted_one_does(tmp_path: Path) -> None:
    config = searching(search={**SEARCH, "trials": 14, "at_once": 3})
    whole = search(config, tmp_path / "whole.jsonl", 5)
    assert [item.name for item in whole] == [f"p{rank:02d}" for rank in range(1, 15)]
    assert make_plan(config, proposals=whole).to_come == 0
    for rounds in (1, 2, 4):
        file = tmp_path / f"cut{rounds}.jsonl"
        lines = (tmp_path / "whole.jsonl").read_text().splitlines()[:rounds]
        file.write_text("".join(f"{line}\n" for line in lines))
        assert search(config, file, 5 - rounds) == whole


def test_what_came_out_and_the_seed_change_what_is_proposed() -> None:
    config = searching().search
    assert config is not None
    told = propose(config, [], 0, 12)
    low, high = ([Told(asked, (value(asked), 1.0)) for asked in told] for value in (_share, lambda k: -_share(k)))
    assert propose(config, low, 12, 2) == propose(config, low, 12, 2) != propose(config, high, 12, 2)
    assert propose(config, low, 12, 2) != propose(config.model_copy(update={"seed": 1}), low, 12, 2)


def _share(knobs: Any) -> float:
    return float(knobs["embedding_ratio"])


def test_optuna_goes_where_results_were_good() -> None:
    """With one aim that everything depends on, later proposals lie nearer to the best than the first ones."""
    config = SearchConfig(trials=40, embedding_ratio=(0.1, 0.9))
    told: list[Told] = []
    for number in range(0, 40, 4):
        asked = propose(config, told, number, 4)
        told += [Told(knobs, ((_share(knobs) - 0.7) ** 2, (_share(knobs) - 0.7) ** 2)) for knobs in asked]
    off = [abs(_share(item.asked) - 0.7) for item in told]
    assert sum(off[20:]) / 20 < sum(off[:12]) / 12 / 2


def test_every_proposal_becomes_a_shape_within_half_a_percent_of_the_total() -> None:
    config = searching(search={**SEARCH, "embedding_ratio": [0.02, 0.97], "glu_expansion": [0.3, 40.0]})
    assert config.search is not None
    asked = propose(config.search, [], 0, 60)
    made = make_proposals(config, asked, 0)
    plan = make_plan(config, proposals=made)
    feasible = [item for item in made if item.made]
    assert len(feasible) > 40
    for item in feasible:
        shape = solve(plan[item.variant or ""].variant.model)
        assert shape.total_params == pytest.approx(100_000, rel=0.005)
        assert shape.vocab_size == item.asked["vocab_size"]
        assert shape == plan[item.variant or ""].shape


def test_a_proposal_is_the_nearest_shape_and_its_knobs_are_those_of_the_shape() -> None:
    config = searching()
    (item,) = make_proposals(config, [{"embedding_ratio": 0.341, "glu_expansion": 2.2, "vocab_size": 500}], 7)
    assert item.made is not None
    shape = solve(config.model.model_copy(update=dict(item.made)))
    assert item.name == "p08"
    assert item.made["glu_expansion"] == shape.glu_expansion
    assert item.made["embedding_ratio"] == 500 * shape.d_model / 100_000
    assert shape == solve(config.model.model_copy(update=dict(item.asked)))


def test_a_shape_that_is_there_already_is_not_trained_again() -> None:
    config = searching()
    again = {"embedding_ratio": 0.35, "glu_expansion": 2.66, "vocab_size": 600}
    first, second = make_proposals(config, [again, {**again, "vocab_size": 300}], 0)
    assert (first.variant, first.experiment) == ("base", None)
    assert second.variant == "p02"
    (third,) = make_proposals(make_plan(config, proposals=[first, second]).config, [second.asked], 2)
    assert (third.name, third.variant, third.experiment) == ("p03", "p02", None)


def test_what_has_no_shape_is_counted_told_to_optuna_and_never_trained() -> None:
    config = searching(search={**SEARCH, "vocab_size": [600, 12_600]})  # of which eight columns are all of the total
    known = make_proposals(config, [{"embedding_ratio": 0.4, "glu_expansion": 2.0, "vocab_size": 12_600}], 0)
    assert (known[0].made, known[0].variant) == (None, None)
    plan = make_plan(config, proposals=known)
    assert [item.name for item in plan.variants] == ["base"]
    assert plan.to_come == 4
    assert results_so_far(plan, known, {})[-1] == Told(known[0].asked, None)
    assert len(next_round(plan, known, made_up_scores(plan.config))["proposals"]) == 2


def test_the_files_experiments_are_told_where_they_differ_in_nothing_else() -> None:
    experiments = [{"name": "base"}, {"name": "wide", "glu_expansion": 4.0}, {"name": "slow", "learning_rate": 1e-5}]
    config = searching(experiments=experiments)
    known = make_proposals(config, [{"embedding_ratio": 0.2, "glu_expansion": 3.0, "vocab_size": 400}], 0)
    plan = make_plan(config, proposals=known)
    told = results_so_far(plan, known, made_up_scores(plan.config))
    assert [item.asked["glu_expansion"] for item in told] == [2.66, 4.0, 3.0]
    assert [item.values is None for item in results_so_far(plan, known, {})] == [True, True, True]


def test_what_lies_outside_the_ranges_is_passed_over() -> None:
    config = searching().search
    assert config is not None
    inside = Told({"embedding_ratio": 0.3, "glu_expansion": 2.0, "vocab_size": 400}, (2.0, 1.0))
    outside = [
        Told({**inside.asked, knob: value}, (1.0, 1.0))
        for knob, value in (("embedding_ratio", 0.7), ("vocab_size", 450))
    ]
    assert propose(config, [inside, *outside], 0, 3) == propose(config, [inside], 0, 3)


BAD = [
    ({"search": {"trials": 3}}, "search: got no range"),
    ({"search": {"embedding_ratio": [0.5, 0.1]}}, r"search\.embedding_ratio: .*the first below the second"),
    ({"search": {**SEARCH, "vocab_step": 70}}, r"search\.vocab_size: got \[300, 600\]; .*search\.vocab_step \(70\)"),
    ({"ranking": TINY["ranking"]}, r"ranking\.stop: got 'kill_rule'; none"),
    ({"evaluation": {"latency_runs": 0}}, r"evaluation\.latency_runs: got 0"),
    ({"experiments": [{"name": "base"}, {"name": "P07"}]}, r"experiments\[1\]\.name: got 'P07'; p01"),
    ({"experiments": None, "stages": [{"name": "a", "experiments": [{"name": "base"}]}]}, "search: got a search"),
]  # fmt: skip


@pytest.mark.parametrize(("sections", "message"), BAD)
def test_a_search_that_cannot_be_made_is_refused_by_its_place(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        searching(**sections)


def test_a_search_may_be_made_longer_and_nothing_else_of_it_changed() -> None:
    longer = compare(searching(), searching(search={**SEARCH, "trials": 9}))
    assert (longer.refused, longer.reopens) == ((), True)
    assert compare(searching(), searching(search={**SEARCH, "seed": 9})).refused == ("search.seed: 0 -> 9",)


def test_the_sweep_file_that_is_written_down_asks_for_the_same_search() -> None:
    assert check_sweep(yaml.safe_load(dump_sweep(searching()))).search == searching().search


def test_the_budget_is_kept_for_what_is_still_to_be_proposed() -> None:
    plan = make_plan(searching())
    each = plan.baseline
    kept = reserve(plan, begun=[RANKING])
    assert sum(tokens for (stage, _), tokens in kept.items() if stage == RANKING) == 5 * each.ranking.total_tokens
    assert len([name for name in kept if name[0] == FINALISTS]) == 2 * 2  # the baseline and a challenger, two seeds


@pytest.fixture(scope="module")
def searched(
    tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., SweepConfig], cache: Path, local_ray: None
) -> tuple[SweepConfig, ResultsFolder]:
    """A search that ran through to its report."""
    config = searching(
        data={**TINY["data"], "cache_dir": str(cache)},
        search={**SEARCH, "trials": 3},
        finalists={**TINY["finalists"], "seeds": [0]},
        sanity={"enabled": False},
        telemetry={"tensorboard": False},
    )
    folder = ResultsFolder(tmp_path_factory.mktemp("results") / "searched")
    run(config, folder)
    return config, folder


def test_a_search_runs_in_rounds_to_its_report(searched: tuple[SweepConfig, ResultsFolder]) -> None:
    config, folder = searched
    rows = read_jsonl(folder.decisions)
    assert [row["decision"] for row in rows] == ["proposals"] * 2 + [PROMOTE, "winner"]
    known = proposals_in(rows)
    assert [item.name for item in known] == ["p01", "p02", "p03"]
    trained = {trial.name for trial in folder.trials(RANKING)}
    assert trained == {"base"} | {item.name for item in known if item.experiment}
    for trial in folder.trials(RANKING):
        assert read_json(trial.metrics)["profiled_alone"] is not None
    assert "p03" in folder.results_page.read_text()
    assert plan_so_far(config, folder).to_come == 0


@pytest.mark.long
def test_a_search_that_was_cut_between_rounds_ends_with_the_same_numbers(
    searched: tuple[SweepConfig, ResultsFolder], tmp_path: Path
) -> None:
    """Latency is measured, so the same proposals follow only where what was measured before the cut is kept."""
    config, done = searched
    folder = ResultsFolder(tmp_path / "searched")
    shutil.copytree(done.root, folder.root)
    rows = read_jsonl(folder.decisions)
    for name in [item.name for item in proposals_in(rows[1:])]:
        shutil.rmtree(folder.root / RANKING / name, ignore_errors=True)
    shutil.rmtree(folder.root / FINALISTS)
    folder.report.unlink()
    folder.decisions.write_text("".join(json.dumps(row) + "\n" for row in rows[:1]))
    run(config, folder)
    assert proposals_in(read_jsonl(folder.decisions)) == proposals_in(rows)
    after = numbers(folder)
    assert {name: after[name] for name in after if RANKING in str(name)} == {
        name: value for name, value in numbers(done).items() if RANKING in str(name)
    }
