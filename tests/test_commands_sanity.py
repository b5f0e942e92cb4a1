"""`overfit` and `lr-find`: which variants they check, what they leave behind and say, and their exit codes."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from types import ModuleType

import pytest
import torch
from rich.console import Console

from paramalloc.commands import lr_find, overfit
from paramalloc.data.corpus import open_corpus
from paramalloc.data.prepare import prepare
from paramalloc.errors import UserError
from paramalloc.files import atomic_write, read_json, write_json
from paramalloc.numerics import choose_numerics
from paramalloc.plan import make_plan
from paramalloc.results import ResultsFolder
from paramalloc.sweep.runbook.sanity import LR_FIND, OVERFIT, Check, Kind, check_of, passed
from paramalloc.sweep.trials.work import SweepData, make_sweep_data, run_check
from paramalloc.sweep_file import dump_sweep, load_sweep

SWEEP = """
data: {corpus: synthetic, synthetic_bytes: 200_000, cache_dir: CACHE}
model: {total_params: 100_000, vocab_size: 600, context_length: 32}
experiments: [{name: wide, glu_expansion: 4.0}, {name: base}]
training: {tokens: 16_000, batch_size: 4, learning_rate: [1e-3, 4e-3]}
"""


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    path = folder / "mine.yaml"
    path.write_text(SWEEP.replace("CACHE", str(folder / "cache")))
    return path


@pytest.fixture(autouse=True)
def _little_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("paramalloc.training.overfit.MEMORIZED_TOKENS", 128)
    monkeypatch.setattr("paramalloc.training.lr_find.STEP_TOKENS", 256)


@pytest.fixture
def console() -> Console:
    return Console(width=200, record=True, quiet=False, force_terminal=False)


def run(command: ModuleType, console: Console, *arguments: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]), console)


def written(folder: ResultsFolder) -> list[str]:
    return sorted(str(path.relative_to(folder.root)) for path in folder.root.rglob("*") if path.is_file())


def test_overfit_checks_the_baseline_and_leaves_numbers_and_a_figure(sweep: Path, console: Console) -> None:
    assert run(overfit, console, sweep) == 0
    folder, said = ResultsFolder(Path("results/mine")), console.export_text()
    assert written(folder) == ["figures/overfit-base.png", "figures/overfit-base.svg", "sanity/overfit-base.json"]
    result = read_json(folder.overfit("base"))
    assert result["variant"] == "base"
    assert result["passed"]
    assert result["message"].startswith("base: memorized 128 tokens to 0.0")
    assert result["message"] in said
    assert "figures/overfit-base.png" in said
    assert "d_model" in said  # the parameter table


def test_lr_find_of_all_variants_leaves_one_figure_with_the_rates_of_the_sweep_file(
    sweep: Path, console: Console, tmp_path: Path
) -> None:
    folder = ResultsFolder(tmp_path / "elsewhere")
    assert run(lr_find, console, sweep, "--all", "--results", folder.root) == 0
    assert written(folder) == [
        "figures/lr_find.png", "figures/lr_find.svg", "sanity/lr_find-base.json", "sanity/lr_find-wide.json"
    ]  # fmt: skip
    result = read_json(folder.lr_find("wide"))
    assert result["configured"] == [1e-3, 4e-3]
    assert f"wide: learning rate {result['suggestion']:.2g} suggested" in console.export_text()


def test_a_variant_is_checked_by_name_and_with_overrides(sweep: Path, console: Console) -> None:
    assert run(overfit, console, sweep) == 0
    console.export_text()  # and forget it
    assert run(lr_find, console, sweep, "--variant", "wide", "--set", "experiments.wide.learning_rate=0.5") == 0
    assert [line for line in console.export_text().splitlines() if line.startswith("figure: ")] == [
        "figure: results/mine/figures/lr_find-wide.png"  # not the one of overfitting, which is there as well
    ]
    folder = ResultsFolder(Path("results/mine"))
    assert read_json(folder.lr_find("wide"))["configured"] == [0.5]
    assert not folder.lr_find("base").exists()


@pytest.mark.parametrize(("command", "kind"), [(overfit, OVERFIT), (lr_find, LR_FIND)])
def test_the_file_is_what_the_sweep_writes_and_counts_there_for_the_same_settings(
    sweep: Path, console: Console, command: ModuleType, kind: Kind
) -> None:
    def in_the_sweep(*changes: str) -> tuple[Check, SweepData]:
        plan = make_plan(load_sweep(sweep, changes))
        tokens = prepare(plan.config.data, 600)
        return check_of(kind, plan.baseline), make_sweep_data({600: tokens}, 600, 4_000)

    assert run(command, console, sweep) == 0
    folder, (check, data) = ResultsFolder(Path("results/mine")), in_the_sweep()
    tokenizer_hash = data.token_sets[600].tokenizer_hash
    assert passed(folder, check, tokenizer_hash)
    for changed in ("training.grad_clip=0.5", "model.context_length=16"):
        assert not passed(folder, in_the_sweep(changed)[0], tokenizer_hash)
    by_the_command = check.file(folder).read_bytes()
    write_json(check.file(folder), run_check(check, data, choose_numerics("auto", torch.device("cpu"))))
    assert check.file(folder).read_bytes() == by_the_command


def test_a_variant_with_a_vocabulary_of_its_own_is_checked_under_it(sweep: Path, console: Console) -> None:
    assert run(overfit, console, sweep, "--variant", "wide", "--set", "experiments.wide.vocab_size=500") == 0
    levels = read_json(ResultsFolder(Path("results/mine")).overfit("wide"))["evidence"]["levels"]
    assert levels["uniform"] == pytest.approx(math.log(500))


@pytest.mark.parametrize("command", [overfit, lr_find])
def test_a_failed_check_is_told_and_ends_with_exit_code_1(
    sweep: Path, console: Console, monkeypatch: pytest.MonkeyPatch, command: ModuleType
) -> None:
    monkeypatch.setattr("paramalloc.training.optimizer.LightAdamW.step", lambda self, closure=None: None)
    assert run(command, console, sweep) == 1
    (file,) = Path("results/mine/sanity").iterdir()
    result = read_json(file)
    assert not result["passed"]
    assert result["message"] in console.export_text()
    assert list(Path("results/mine/figures").glob("*.png"))


def test_an_unknown_variant_is_refused_before_anything_is_written(sweep: Path, console: Console) -> None:
    with pytest.raises(UserError, match=r"--variant: got 'bse'; allowed: base, wide"):
        run(overfit, console, sweep, "--variant", "bse")
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("model.total_params=110_000", "results of a sweep with another base"),
        ("data.synthetic_bytes=210_000", "results of another text"),
    ],
)
def test_results_of_another_experiment_are_left_alone(
    sweep: Path, tmp_path: Path, console: Console, setting: str, problem: str
) -> None:
    folder = ResultsFolder(tmp_path / "results")
    config = load_sweep(sweep, [])
    atomic_write(folder.sweep, dump_sweep(config))
    write_json(folder.plan, {"corpus_fingerprint": open_corpus(config.data).fingerprint()})
    with pytest.raises(UserError, match=problem):
        run(overfit, console, sweep, "--results", folder.root, "--set", setting)
    assert not folder.overfit("base").exists()
    assert run(overfit, console, sweep, "--results", folder.root) == 0
