"""`export` and `generate` from the command line, on a trial as a sweep leaves it."""

from __future__ import annotations

import argparse
import io
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from paramalloc.commands import export, generate
from paramalloc.errors import UserError
from paramalloc.files import atomic_write
from paramalloc.results import ResultsFolder, TrialFolder

from .conftest import SHAPE


def said(command: ModuleType, *arguments: str | Path) -> str:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    console = Console(file=io.StringIO(), width=80)
    command.run(parser.parse_args([str(argument) for argument in arguments]), console)
    return console.file.getvalue()


def test_export_writes_into_the_trial_and_says_which_weights(trial: TrialFolder, tmp_path: Path) -> None:
    assert f"best weights (step 7 of 9) written to {trial.path / 'export'}" in said(export, trial.path)
    assert {path.name for path in (trial.path / "export").iterdir()} == {
        "README.md",
        "config.json",
        "configuration_paramalloc.py",
        "generation_config.json",
        "model.safetensors",
        "modeling_paramalloc.py",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert "last weights (step 9 of 9)" in said(export, trial.path, "--out", tmp_path / "x", "--checkpoint", "last")
    assert (tmp_path / "x" / "model.safetensors").exists()


def test_generate_prints_the_prompt_and_what_follows(trial: TrialFolder) -> None:
    first, again, other = (
        said(generate, trial.path, "--prompt", "[b]the cat[/]", "--tokens", "5", "--seed", seed) for seed in "112"
    )
    assert first == again != other
    assert first.startswith("[b]the cat[/]")
    assert "5 tokens, as many tokens as asked for; best weights (step 7)" in first


def test_a_results_folder_on_another_machine_is_enough(trial: TrialFolder, tmp_path: Path) -> None:
    here = said(generate, trial.path, "--tokens", "5")
    copy = TrialFolder(tmp_path / "elsewhere", trial.stage, trial.name)
    shutil.copytree(trial.root, copy.root)
    sweep = ResultsFolder(copy.root).sweep
    settings = re.sub("cache_dir: .*", "cache_dir: /nowhere", sweep.read_text())
    atomic_write(sweep, settings.replace("corpus: synthetic", "corpus: /nowhere/either"))
    assert said(generate, copy.path, "--tokens", "5") == here
    said(export, copy.path)
    tokenizer = ResultsFolder(copy.root).tokenizer(SHAPE.vocab_size)
    assert (copy.export / "tokenizer.json").read_bytes() == tokenizer.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tokens", "0"], "--tokens: got 0"),
        (["--top-k", "0"], "--top-k: got 0"),
        (["--temperature", "nan"], "--temperature: got nan"),
        (["--seed", "-1"], "--seed: got -1"),
        (["--prompt", "a b c d e f g " * 9], "tokens in a context of 32; give at most 31"),
    ],
)
def test_generate_refuses_what_makes_no_sense(trial: TrialFolder, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        said(generate, trial.path, *arguments)
