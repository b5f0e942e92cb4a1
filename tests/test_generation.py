"""Sampling: greedy decoding is the model's argmax, seeds decide the rest, and each way to end is told apart."""

from __future__ import annotations

import pytest
import torch

from paramalloc.allocation import Shape
from paramalloc.generation import Sampling, generate
from paramalloc.model import Transformer

SHAPE = Shape(d_model=24, n_layers=2, n_heads=3, d_ff=40, vocab_size=300, context_length=16, tied=False)
PROMPT = [0, 7, 42]
NEVER = -1  # an end-of-text that no token is
GREEDY = Sampling(temperature=0)


@pytest.fixture(scope="module")
def model() -> Transformer:
    made = Transformer(SHAPE, seed=1).eval()
    with torch.no_grad():
        made.head.weight *= 50  # far from uniform, so that temperature and top-k matter
    return made


def test_without_temperature_each_token_is_the_likeliest_after_all_before_it(model: Transformer) -> None:
    made = generate(model, PROMPT, 8, GREEDY, NEVER)
    text = torch.tensor([PROMPT + made.tokens])
    expected = model(text)[0].argmax(-1)[len(PROMPT) - 1 : -1]
    assert made.tokens == expected.tolist()
    assert made.ended == "as many tokens as asked for"


def test_the_seed_decides_the_sample(model: Transformer) -> None:
    samples = [generate(model, PROMPT, 10, Sampling(seed=seed), NEVER).tokens for seed in (3, 3, 4)]
    assert samples[0] == samples[1] != samples[2]


def test_top_k_draws_from_the_likeliest_only(model: Transformer) -> None:
    with torch.no_grad():
        likeliest = set(model(torch.tensor([PROMPT]))[0, -1].topk(3).indices.tolist())
    drawn = {
        generate(model, PROMPT, 1, Sampling(temperature=100, top_k=3, seed=seed), NEVER).tokens[0]
        for seed in range(40)
    }
    assert drawn == likeliest
    anything = {generate(model, PROMPT, 1, Sampling(100, None, seed), NEVER).tokens[0] for seed in range(40)}
    assert not anything <= likeliest


def test_a_lower_temperature_draws_the_likeliest_more_often(model: Transformer) -> None:
    best = generate(model, PROMPT, 1, GREEDY, NEVER).tokens
    hits = [
        sum(generate(model, PROMPT, 1, Sampling(temperature, None, seed), NEVER).tokens == best for seed in range(60))
        for temperature in (0.05, 5.0)
    ]
    assert hits[0] > hits[1]


def test_end_of_text_ends_the_text_and_is_no_part_of_it(model: Transformer) -> None:
    tokens = generate(model, PROMPT, 8, GREEDY, NEVER).tokens
    end = next(token for token in tokens if token != tokens[0])
    made = generate(model, PROMPT, 8, GREEDY, end_of_text=end)
    assert made.tokens == tokens[: tokens.index(end)]
    assert made.ended == "end of text"


def test_the_context_is_used_to_its_end(model: Transformer) -> None:
    made = generate(model, PROMPT, 100, GREEDY, NEVER)
    assert made.ended == "end of the context"
    assert len(made.tokens) == 16 - len(PROMPT) + 1  # the last one needs no place of its own


@pytest.mark.parametrize("prompt", [[], [0] * 17])
def test_a_prompt_of_nothing_or_beyond_the_context_is_refused(model: Transformer, prompt: list[int]) -> None:
    with pytest.raises(ValueError, match=r"prompt|17 tokens in a context of 16"):
        generate(model, prompt, 1, GREEDY, NEVER)
