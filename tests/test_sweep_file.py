"""Sweep files as users write them: the original plan's load as they are, every mistake is named by its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from paramalloc.errors import UserError
from paramalloc.sweep_file import check_sweep, dump_sweep, load_sweep

EMBED = """
model: {total_params: 10_000_000, vocab_size: 16_000}
experiments:
  - {name: emb35, embedding_ratio: 0.35}
  - {name: emb25, embedding_ratio: 0.25}
  - {name: emb45, embedding_ratio: 0.45}
training: {tokens: 50_000_000, batch_size: 256}
evaluation: {metrics: ["perplexity", "smallbench_accuracy"]}
"""
GLU = """
model: {total_params: 10_000_000, vocab_size: 16_000}
experiments:
  - {name: glu2x, glu_expansion: 2.0}
  - {name: glu266x, glu_expansion: 2.66}
  - {name: glu3x, glu_expansion: 3.0}
  - {name: glu4x, glu_expansion: 4.0}
training: {tokens: 50_000_000, batch_size: 256}
evaluation: {metrics: ["perplexity", "smallbench_accuracy"]}
"""


@pytest.fixture
def embed(tmp_path: Path) -> Path:
    path = tmp_path / "embed.yaml"
    path.write_text(EMBED)
    return path


def test_the_original_embedding_sweep_loads_as_it_is(embed: Path) -> None:
    sweep = load_sweep(embed)
    assert sweep.name == "embed"
    assert sweep.baseline_name == "emb35"
    assert [v.name for v in sweep.variants] == ["emb35", "emb25", "emb45"]
    assert [v.model.embedding_ratio for v in sweep.variants] == [0.35, 0.25, 0.45]
    assert {v.model.total_params for v in sweep.variants} == {10_000_000}
    assert sweep.variants[0].training.tokens == 50_000_000


def test_the_original_glu_sweep_loads_with_its_baseline_first(tmp_path: Path) -> None:
    path = tmp_path / "glu.yaml"
    path.write_text(GLU)
    assert [v.name for v in load_sweep(path).variants] == ["glu266x", "glu2x", "glu3x", "glu4x"]


def test_the_first_experiment_is_the_baseline_where_none_has_the_default_allocation(embed: Path) -> None:
    sweep = load_sweep(embed, ["model.glu_expansion=3"])
    assert sweep.baseline_name == "emb35"
    assert load_sweep(embed, ["experiments.emb25.glu_expansion=1"]).baseline_name == "emb35"
    assert load_sweep(embed, ["experiments.emb35.embedding_ratio=0.3"]).baseline_name == "emb35"
    assert load_sweep(embed, ["baseline=emb45"]).variants[0].name == "emb45"


def test_an_experiment_may_override_any_model_or_training_knob(embed: Path) -> None:
    sweep = load_sweep(embed, ["experiments.emb25.learning_rate=3e-4", "experiments.emb25.vocab_size=8_000"])
    overridden = next(v for v in sweep.variants if v.name == "emb25")
    assert (overridden.training.learning_rate, overridden.model.vocab_size) == (3e-4, 8000)
    assert sweep.variants[0].model.vocab_size == 16_000


def test_the_dump_writes_out_every_default_and_loads_to_the_same_sweep(embed: Path) -> None:
    sweep = load_sweep(embed, ["experiments.emb25.seed=3"])
    text = dump_sweep(sweep)
    assert yaml.safe_load(text)["ranking"]["kill_rule"]["margin_ppl"] == 0.5
    again = check_sweep(yaml.safe_load(text))
    assert again.variants == sweep.variants
    assert again.baseline_name == sweep.baseline_name


@pytest.mark.parametrize(
    ("override", "place", "part"),
    [
        ("model.vocab=1", "model.vocab:", "did you mean 'vocab_size'?"),
        ("modle.vocab_size=1", "modle:", "allowed: name, data, model"),
        ("ranking.kill_rule.margin=1", "ranking.kill_rule.margin:", "margin_ppl"),
        ("experiments.emb25.embedding_rati=.2", "experiments[1].embedding_rati:", "embedding_ratio"),
        ("training.tokens=many", "training.tokens:", "'many'"),
        ("training.tokens=true", "training.tokens:", "True"),
        ("training.tokens=1.5", "training.tokens:", "1.5"),
        ("training.learning_rate=.nan", "training.learning_rate:", "finite"),
        ("model.embedding_ratio=1.2", "model.embedding_ratio:", "less than 1"),
        ("model.n_heads=some", "model.n_heads:", "'auto'"),
        ("experiments.emb25.name=EMB35", "experiments[1].name:", "a second time"),
        ("experiments.emb25.name=../up", "experiments[1].name:", "letters, digits"),
        ("name=a/b", "name:", "letters, digits"),
        ("baseline=emb99", "baseline:", "emb35, emb25, emb45"),
        ("finalists.seeds=[1, 1]", "finalists.seeds:", "twice"),
        ("experiments=[]", "experiments:", "got []; give at least 1"),
        ("evaluation.metrics=[bleu]", "evaluation.metrics[0]:", "'perplexity'"),
        ("experiments.emb99.seed=1", "--set experiments.emb99.seed:", "emb35, emb25, emb45"),
        ("training.tokens", "--set training.tokens:", "path=value"),
        ("name.x=1", "name:", "string"),
        ("stages=5", "stages:", "got 5; give a list"),
        ("experiments={emb35: 1}", "experiments:", "give a list"),
        ("training=5", "training:", "got 5; give a mapping"),
    ],
)
def test_a_mistake_is_named_by_its_place_with_what_was_got_and_what_is_allowed(
    embed: Path, override: str, place: str, part: str
) -> None:
    with pytest.raises(UserError) as caught:
        load_sweep(embed, [override])
    assert str(caught.value).startswith(place)
    assert part in str(caught.value)


def test_all_mistakes_are_named_at_once(embed: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_sweep(embed, ["model.vocab=1", "training.tokens=many"])
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["model.vocab", "training.tokens"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("model: {total_params: 1", "embed.yaml:1"),
        ("name: a\nname: b\n", "'name' stands there twice"),
        ("- 1\n- 2\n", "a mapping"),
        ("", "got nothing; allowed: a mapping with at least `experiments` or `stages`"),
        ("!!python/object/apply:os.system ['true']", "embed.yaml:1"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused(embed: Path, text: str, part: str) -> None:
    embed.write_text(text)
    with pytest.raises(UserError) as caught:
        load_sweep(embed)
    assert part in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.yaml"):
        load_sweep(tmp_path / "no.yaml")


def test_an_experiment_may_stand_in_the_file_without_taking_part(embed: Path) -> None:
    assert "emb25" not in [v.name for v in load_sweep(embed, ["experiments.emb25.enabled=false"]).variants]
    again = check_sweep(yaml.safe_load(dump_sweep(load_sweep(embed, ["experiments.emb25.enabled=false"]))))
    assert [item.enabled for item in again.experiments or ()] == [True, False, True]


def test_a_runbook_is_dumped_and_loaded_to_the_same_stages_and_takes_overrides_by_name() -> None:
    path = Path(__file__).parent.parent / "sweeps" / "runbook.yaml"
    sweep = load_sweep(path, ["stages.glu.experiments.glu2x.seed=3", "stages.embed.experiments.emb15.enabled=true"])
    assert {v.name: v.training.seed for v in sweep.variants}["glu2x"] == 3
    again = check_sweep(yaml.safe_load(dump_sweep(sweep)))
    assert again.resolve({"embed": "emb15"}) == sweep.resolve({"embed": "emb15"})
    assert again.resolve({"embed": "emb15"})["glu"][0].model.embedding_ratio == 0.15
