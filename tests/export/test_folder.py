"""The exported folder: `transformers` makes of it what the training code does, and no other folder is hurt."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from paramalloc.data.tokenizer import load_tokenizer
from paramalloc.errors import UserError
from paramalloc.export.folder import write_folder
from paramalloc.generation import Sampling, generate
from paramalloc.model import Transformer

from .conftest import SHAPE, lively

TEXTS = ["the cat sat", " and\n\n  the naïve dog 👍", "the <|endoftext|> of the text", "<|endoftext|>"]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The `transformers` package, offline, keeping the code it loads in a folder of the test."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers", reason="the dev extra brings transformers")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    return transformers


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def model(request: pytest.FixtureRequest) -> Transformer:
    return lively(replace(SHAPE, tied=request.param, vocab_size=270), seed=3)


@pytest.fixture
def loaded(hub: Any, model: Transformer, tokenizer_file: Path, tmp_path: Path) -> Any:
    write_folder(tmp_path / "out", model, tokenizer_file, "# A card\n")
    return hub.AutoModelForCausalLM.from_pretrained(tmp_path / "out", trust_remote_code=True).eval()


def random_tokens(rows: int, length: int) -> torch.Tensor:
    return torch.randint(1, 270, (rows, length), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_logits_are_those_of_the_training_code(loaded: Any, model: Transformer) -> None:
    tokens = random_tokens(3, 32)
    torch.testing.assert_close(loaded(tokens).logits, model(tokens), rtol=0, atol=1e-5)
    assert sum(parameter.numel() for parameter in loaded.parameters()) == model.shape.total_params
    loss = model.nats(tokens[:, :-1], tokens[:, 1:]) / tokens[:, 1:].numel()
    torch.testing.assert_close(loaded(tokens, labels=tokens).loss, loss)


@torch.no_grad()
def test_padding_changes_nothing_for_the_text_beside_it(loaded: Any, model: Transformer) -> None:
    text, padding = random_tokens(1, 9), torch.zeros((1, 4), dtype=torch.long)
    seen, unseen = torch.ones_like(text), torch.zeros_like(padding)
    left = loaded(torch.cat([padding, text], 1), attention_mask=torch.cat([unseen, seen], 1)).logits[:, 4:]
    right = loaded(torch.cat([text, padding], 1), attention_mask=torch.cat([seen, unseen], 1)).logits[:, :9]
    torch.testing.assert_close(left, model(text), rtol=0, atol=1e-5)
    torch.testing.assert_close(right, model(text), rtol=0, atol=1e-5)


def test_every_position_sees_itself_even_padding(loaded: Any) -> None:
    """A row of the softmax with nothing in it is NaN on some devices, and spreads from there."""
    visible = sys.modules[type(loaded).__module__]._visible(torch.tensor([[0, 0, 1, 1]]), begin=1)
    assert visible[0, 0].int().tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]


def test_generate_writes_what_ours_does_and_stops_at_the_context(loaded: Any, model: Transformer) -> None:
    prompt = random_tokens(1, 6)
    ours = generate(model, prompt[0].tolist(), 12, Sampling(temperature=0), end_of_text=0).tokens
    theirs = loaded.generate(prompt, max_new_tokens=12, do_sample=False)[0, 6:].tolist()
    assert [token for token in theirs if token] == ours
    assert loaded.generate(prompt, do_sample=True, eos_token_id=None).shape == (1, 32)
    with pytest.raises(ValueError, match="33 tokens in a context of 32"):
        loaded(random_tokens(1, 33))


def test_text_becomes_the_tokens_it_was_in_training(
    hub: Any, loaded: Any, tokenizer_file: Path, tmp_path: Path
) -> None:
    tokenizer = hub.AutoTokenizer.from_pretrained(tmp_path / "out", trust_remote_code=True)
    ours = load_tokenizer(tokenizer_file)
    for text in TEXTS:
        assert tokenizer(text)["input_ids"] == ours.encode(text).ids
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.encode("<|endoftext|>", split_special_tokens=False) == [0]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.model_max_length) == (0, 0, 32)


def test_an_earlier_export_is_replaced_whole(model: Transformer, tokenizer_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(out, model, tokenizer_file, "# First\n")
    (out / "left-over.bin").touch()
    write_folder(out, model, tokenizer_file, "# Second\n")
    assert (out / "README.md").read_text() == "# Second\n"
    assert not (out / "left-over.bin").exists()
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_with_something_else_is_left_alone(model: Transformer, tokenizer_file: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match="something else"):
        write_folder(tmp_path, model, tokenizer_file, "# A card\n")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_failed_export_leaves_the_earlier_one(model: Transformer, tokenizer_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(out, model, tokenizer_file, "# First\n")
    with pytest.raises(FileNotFoundError):
        write_folder(out, model, tmp_path / "no-tokenizer.json", "# Second\n")
    assert (out / "README.md").read_text() == "# First\n"
    assert list(tmp_path.iterdir()) == [out]
