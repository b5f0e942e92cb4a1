"""The plan: every shipped sweep can be planned, says the truth, and warns where it should."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from paramalloc.errors import UserError
from paramalloc.files import append_jsonl
from paramalloc.plan import CorpusSize, make_plan, plan_as_json
from paramalloc.plan_table import print_plan
from paramalloc.plan_warnings import dead_ends, warnings
from paramalloc.results import ResultsFolder
from paramalloc.sweep.runbook.plan_so_far import plan_so_far
from paramalloc.sweep_file import check_sweep, load_sweep

SWEEPS = sorted((Path(__file__).parent.parent / "sweeps").glob("*.yaml"))
AMPLE = 10**9


def size(plan: object, tokens: int = AMPLE) -> CorpusSize:
    return CorpusSize({item.shape.vocab_size: tokens for item in plan.variants}, estimated=False)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_shipped_sweep_has_a_plan_within_half_a_percent(path: Path) -> None:
    config = load_sweep(path)
    plan = make_plan(config)
    assert plan.baseline.name == config.baseline_name
    for item in plan.variants:
        asked = item.variant.model
        assert item.shape.total_params == pytest.approx(asked.total_params, rel=0.005)
        assert item.shape.embedding_share == pytest.approx(asked.embedding_ratio, rel=0.1)
        assert item.shape.glu_expansion == pytest.approx(asked.glu_expansion, rel=0.1)
    assert any(path.stem == "embed" for path in SWEEPS)


def test_steps_tokens_and_epochs_add_up() -> None:
    config = check_sweep(
        {
            "name": "t",
            "model": {"total_params": 250_000, "vocab_size": 1024, "context_length": 128},
            "experiments": [{"name": "a"}],
            "training": {"tokens": 1_000_000, "batch_size": 16},
            "ranking": {"tokens": 100_000},
        }
    )
    plan = make_plan(config)
    (item,) = plan_as_json(plan, size(plan, 500_000))["variants"]
    assert item["ranking"]["steps"] == 49  # 100,000 / 2,048 = 48.8
    assert item["ranking"]["tokens"] == 49 * 2048
    assert item["final"]["epochs_over_corpus"] == pytest.approx(489 * 2048 / 500_000)
    assert item["final"]["train_flops"] == item["flops_per_token"] * item["final"]["tokens"]
    assert sum(item["params"].values()) == item["total_params"]


def test_an_impossible_shape_is_named_by_its_experiment() -> None:
    config = check_sweep(
        {"name": "t", "experiments": [{"name": "a"}, {"name": "b", "embedding_ratio": 0.95, "tied": False}]}
    )
    with pytest.raises(UserError, match=r"^experiments\[1\]") as alone:
        make_plan(config)
    assert "either" not in str(alone.value)


def test_all_variants_that_no_shape_fits_are_named_at_once() -> None:
    config = check_sweep(
        {
            "name": "t",
            "model": {"total_params": 250_000, "vocab_size": 16_000},
            "experiments": [{"name": "fits", "vocab_size": 1024, "context_length": 64}, {"name": "a"}, {"name": "b"}],
        }
    )
    with pytest.raises(UserError) as refusal:
        make_plan(config)
    assert refusal.value.place.startswith("experiments[1].")
    assert refusal.value.allowed.endswith("a smaller vocab_size or context_length needs less; no shape fits b either")


def test_the_reader_is_warned_of_few_steps_many_epochs_and_a_rule_that_cannot_act() -> None:
    config = check_sweep({"name": "t", "experiments": [{"name": "a"}], "ranking": {"tokens": 1_000_000}})
    plan = make_plan(config)
    texts = warnings(plan, size(plan, 2_000_000))
    assert "only 8 steps" in texts[0]
    assert "25.0 times over the corpus" in texts[1]
    assert "the rule can never act" in texts[2]
    calm = make_plan(check_sweep({"name": "t", "experiments": [{"name": "a"}], "training": {"batch_size": 16}}))
    assert warnings(calm, size(calm)) == []


def test_the_reader_is_warned_of_variants_that_are_one_and_of_curves_of_one_point() -> None:
    config = check_sweep(
        {
            "name": "t",
            "model": {"total_params": 100_000, "vocab_size": 600, "context_length": 32},
            "experiments": [
                {"name": "a"},
                {"name": "twin"},
                {"name": "wide", "glu_expansion": 4.0},
                {"name": "fast", "learning_rate": 0.1},
            ],
            "training": {"batch_size": 4, "tokens": 900_000},
            "ranking": {"tokens": 300_000, "kill_rule": {"window_tokens": 100_000}},
        }
    )
    plan = make_plan(config)
    pair, curve = warnings(plan, size(plan))[::-1]
    assert curve.startswith("finalists.eval_interval_tokens is as long as such a run")
    assert pair.startswith("a and twin come to the same shape and training")


@pytest.mark.parametrize("width", [80, 140])
def test_the_printed_plan_names_every_variant_and_warning_and_cuts_nothing(width: int) -> None:
    plan = make_plan(load_sweep(next(path for path in SWEEPS if path.stem == "vocab")))
    tokens, stream = dict.fromkeys((16_000, 8_000), 120_000_000), io.StringIO()
    print_plan(plan, CorpusSize(tokens, estimated=True), Console(file=stream, width=width))
    text = stream.getvalue()
    for part in ("v16k-tied", "v16k-untied", "v8k-untied", "warning:", "~0.42", "estimated"):
        assert part in text
    assert "…" not in text


def test_a_long_name_costs_no_digit_of_the_plan() -> None:
    name = "a-name-of-sixty-letters-that-says-all-there-is-to-say-of-it-"
    config = check_sweep({"name": "t", "experiments": [{"name": name}], "training": {"tokens": 50_000_000_000}})
    plan, stream = make_plan(config), io.StringIO()
    print_plan(plan, size(plan), Console(file=stream, width=80))
    budgets = stream.getvalue().split("most runs")[1]
    assert "…" not in budgets
    assert "50,000.0" in budgets


def test_a_runbook_is_planned_stage_by_stage_and_says_which_winners_leave_a_variant_without_a_shape() -> None:
    config = load_sweep(next(path for path in SWEEPS if path.stem == "runbook"))
    plan = make_plan(config)
    assert [stage.name for stage in plan.stages] == ["embed", "glu", "vocab"]
    (dead_end,) = dead_ends(config)
    assert dead_end.startswith(
        "v8k-untied has no shape on some winners, and would be left out of the stage vocab: emb45"
    )
    assert dead_end in warnings(plan, size(plan))
    stream = io.StringIO()
    print_plan(plan, size(plan), Console(file=stream, width=140))
    assert "stage glu, built on emb35 (should that win)" in stream.getvalue()
    assert "at most 5 finalists x 3 seeds" in stream.getvalue()


def test_a_stage_that_cannot_leave_things_as_they_are_is_warned_of() -> None:
    path = next(path for path in SWEEPS if path.stem == "runbook")
    for overrides, count in (([], 0), (["stages.glu.experiments.glu266x.enabled=false"], 1)):
        plan = make_plan(load_sweep(path, overrides))
        found = [text for text in warnings(plan, size(plan)) if "its winner may be worse than emb35" in text]
        assert len(found) == count


def test_a_variant_without_a_shape_is_left_out_of_a_stage_that_is_built_on_a_winner() -> None:
    config = load_sweep(next(path for path in SWEEPS if path.stem == "runbook"))
    decided = make_plan(config, {"embed": "emb45", "glu": "glu2x"})
    vocab = plan_as_json(decided, size(decided))["stages"][2]
    assert (vocab["built_on"], vocab["assumed"], vocab["baseline"]) == ("glu2x", False, "v16k-tied")
    assert list(vocab["left_out"]) == ["v8k-untied"]
    assert vocab["variants"] == ["v16k-tied", "v8k-tied", "v16k-untied"]


def test_the_plan_of_a_half_done_runbook_rests_on_its_winner_and_on_nobody_it_does_not_know(tmp_path: Path) -> None:
    config = load_sweep(Path(__file__).parent.parent / "sweeps" / "runbook.yaml")
    folder = ResultsFolder(tmp_path)
    assert plan_so_far(config, folder).stages[1].assumed
    append_jsonl(folder.decisions, {"decision": "stage_winner", "stage": "embed", "variant": "emb25"})
    glu = plan_so_far(config, folder).stages[1]
    assert (glu.built_on, glu.assumed) == ("emb25", False)
    append_jsonl(folder.decisions, {"decision": "stage_winner", "stage": "embed", "variant": "of-another-file"})
    assert plan_so_far(config, folder).stages[1].assumed
