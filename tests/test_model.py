"""The transformer: shapes, causality, tying, initialisation, one golden step, and the accounting of parameters."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from paramalloc.allocation import Shape
from paramalloc.cross_entropy import IGNORED_TARGET
from paramalloc.model import Transformer, count_by_component

SHAPE = Shape(d_model=24, n_layers=2, n_heads=3, d_ff=40, vocab_size=300, context_length=16, tied=True)
UNTIED = Shape(d_model=24, n_layers=2, n_heads=3, d_ff=40, vocab_size=300, context_length=16, tied=False)


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, 300, (2, 16), generator=torch.Generator().manual_seed(0))


def test_logits_have_one_row_per_position(tokens: torch.Tensor) -> None:
    assert Transformer(SHAPE)(tokens).shape == (2, 16, 300)
    assert Transformer(SHAPE)(tokens[:, :5]).shape == (2, 5, 300)


def test_a_text_longer_than_the_context_is_refused() -> None:
    with pytest.raises(ValueError, match="17 tokens in a context of 16"):
        Transformer(SHAPE)(torch.zeros((1, 17), dtype=torch.long))


@pytest.mark.parametrize("position", [0, 7, 15])
def test_causality_by_gradient(tokens: torch.Tensor, position: int) -> None:
    """The logits at a position depend on all positions up to it, and on none after it."""
    model = Transformer(SHAPE, seed=1)
    embedded = model.token_embedding(tokens).detach().requires_grad_()
    handle = model.token_embedding.register_forward_hook(lambda *_: embedded)
    model(tokens)[:, position].square().sum().backward()
    handle.remove()
    reached = embedded.grad.abs().sum(dim=(0, 2)) > 0
    assert reached.tolist() == [i <= position for i in range(16)]


@pytest.mark.parametrize("shape", [SHAPE, UNTIED])
@pytest.mark.parametrize("pieces", [[16], [1] * 16, [5, 1, 1, 9], [15, 1]])
def test_with_a_cache_any_division_of_a_text_gives_the_logits_of_the_whole(
    shape: Shape, pieces: list[int], tokens: torch.Tensor
) -> None:
    model = Transformer(shape, seed=4).eval()
    with torch.no_grad():
        for block in model.blocks:  # attention that matters: initial weights barely look at other positions
            block.attention.qkv.weight *= 30
            block.attention.out.weight *= 30
        cache = model.new_cache()
        logits = torch.cat([model(part, cache) for part in tokens.split(pieces, dim=1)], dim=1)
        torch.testing.assert_close(logits, model(tokens), rtol=0, atol=1e-5)


def test_a_cache_that_is_full_takes_no_more(tokens: torch.Tensor) -> None:
    model = Transformer(SHAPE)
    cache = model.new_cache()
    model(tokens, cache)
    with pytest.raises(ValueError, match="17 tokens in a context of 16"):
        model(tokens[:, :1], cache)


def test_a_tied_head_is_the_token_table_itself() -> None:
    tied, untied = Transformer(SHAPE), Transformer(UNTIED)
    assert tied.head.weight.data_ptr() == tied.token_embedding.weight.data_ptr()
    assert untied.head.weight.data_ptr() != untied.token_embedding.weight.data_ptr()


@pytest.mark.parametrize("shape", [SHAPE, UNTIED, Shape(8, 1, 2, 12, 257, 8, True)])
def test_every_component_has_the_parameters_that_the_accounting_says(shape: Shape) -> None:
    model = Transformer(shape)
    assert count_by_component(model) == shape.params_by_component()
    assert sum(p.numel() for p in model.parameters()) == shape.total_params


def test_initial_weights_have_the_stated_spread() -> None:
    shape = Shape(d_model=128, n_layers=4, n_heads=4, d_ff=320, vocab_size=1000, context_length=64, tied=True)
    model = Transformer(shape, seed=3)
    block = model.blocks[2]
    spread = 0.02 * math.sqrt(768 / 128)
    for weight, expected in (
        (model.token_embedding.weight, spread),
        (block.attention.qkv.weight, spread),
        (block.attention.out.weight, spread / math.sqrt(2 * 4)),
        (block.glu.gate.weight, spread),
        (block.glu.down.weight, 0.02 * math.sqrt(768 / 320) / math.sqrt(2 * 4)),
    ):
        assert weight.std().item() == pytest.approx(expected, rel=0.03)
    assert torch.equal(block.glu_norm.weight, torch.ones(128))


def test_the_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(1)
    first = Transformer(SHAPE, seed=5).state_dict()
    torch.manual_seed(2)
    second = Transformer(SHAPE, seed=5).state_dict()
    other = Transformer(SHAPE, seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["token_embedding.weight"], other["token_embedding.weight"])


def test_the_forward_pass_is_the_one_in_the_literature(tokens: torch.Tensor) -> None:
    """One layer written out with plain matrix products and an explicit mask gives the same logits."""
    model = Transformer(Shape(24, 1, 3, 40, 300, 16, True), seed=2)
    block = model.blocks[0]
    x = model.token_embedding.weight[tokens] + model.position_embedding.weight[:16]
    normed = F.layer_norm(x, (24,))
    q, k, v = (normed @ block.attention.qkv.weight.T).split(24, dim=-1)
    future = torch.ones(16, 16).triu(1).bool()
    mixed = []
    for head in range(3):
        part = slice(head * 8, head * 8 + 8)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(8)
        mixed.append(scores.masked_fill(future, -math.inf).softmax(-1) @ v[..., part])
    x = x + torch.cat(mixed, -1) @ block.attention.out.weight.T
    normed = F.layer_norm(x, (24,))
    gated = normed @ block.glu.gate.weight.T
    x = x + (gated * torch.sigmoid(gated) * (normed @ block.glu.up.weight.T)) @ block.glu.down.weight.T
    expected = F.layer_norm(x, (24,)) @ model.token_embedding.weight.T
    torch.testing.assert_close(model(tokens), expected, rtol=1e-4, atol=1e-6)


def test_golden_first_step(tokens: torch.Tensor) -> None:
    """Loss before and after one plain SGD step, recorded once; a change of the model's arithmetic shows here."""
    model = Transformer(SHAPE, seed=0)
    losses = []
    for _ in range(2):
        loss = model.nats(tokens[:, :-1], tokens[:, 1:]) / tokens[:, 1:].numel()
        losses.append(loss.item())
        model.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.5 * parameter.grad
    assert losses == pytest.approx(GOLDEN_LOSSES, rel=1e-4)


GOLDEN_LOSSES = [5.8833880424, 5.0169310570]


def test_ignored_targets_cost_nothing(tokens: torch.Tensor) -> None:
    model = Transformer(SHAPE)
    targets = tokens.clone()
    targets[:, 4:] = IGNORED_TARGET
    per_token = model.nats(tokens, targets, reduction="none")
    assert torch.equal(per_token[:, 4:], torch.zeros(2, 12))
    torch.testing.assert_close(model.nats(tokens, targets), per_token.sum())
