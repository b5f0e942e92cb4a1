"""Attention by row blocks against PyTorch's own: values, gradients, formats, lengths around a block's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from paramalloc.attention import BLOCK_ROWS, causal_attention, split_heads

HEADS, HEAD_SIZE = 3, 6


def reference(qkv: Tensor) -> Tensor:
    q, k, v = split_heads(qkv, HEADS)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


def inputs(length: int, spread: float = 2.0) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(length)
    qkv = torch.randn(2, length, 3 * HEADS * HEAD_SIZE, generator=random) * spread
    return qkv.requires_grad_(), torch.randn(2, length, HEADS * HEAD_SIZE, generator=random)


@pytest.mark.parametrize("length", [1, 16, BLOCK_ROWS, BLOCK_ROWS + 1, 2 * BLOCK_ROWS + 10])
def test_values_and_gradients_are_those_of_pytorch(length: int) -> None:
    qkv, above = inputs(length)
    expected, mixed = reference(qkv), causal_attention(qkv, HEADS)
    torch.testing.assert_close(mixed, expected, rtol=1e-5, atol=1e-5)
    wanted, gradient = (torch.autograd.grad(value, qkv, above)[0] for value in (expected, mixed))
    torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-5)


def test_in_bf16_it_is_as_near_to_fp32_as_the_format_allows() -> None:
    qkv, above = inputs(150, spread=1.0)
    exact = reference(qkv)
    rounded = qkv.detach().bfloat16().requires_grad_()
    mixed = causal_attention(rounded, HEADS)
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.float(), exact, rtol=0.05, atol=0.05)
    gradient = torch.autograd.grad(mixed, rounded, above.bfloat16())[0].float()
    torch.testing.assert_close(gradient, torch.autograd.grad(exact, qkv, above)[0], rtol=0.1, atol=0.15)


def test_without_gradients_the_values_are_the_same() -> None:
    qkv, _ = inputs(100)
    with torch.no_grad():
        torch.testing.assert_close(causal_attention(qkv, HEADS), reference(qkv), rtol=1e-5, atol=1e-5)
        rounded = (qkv / 2).bfloat16()
        torch.testing.assert_close(
            causal_attention(rounded, HEADS), reference(rounded.float()).bfloat16(), rtol=0.02, atol=0.03
        )


@pytest.mark.parametrize("position", [0, BLOCK_ROWS - 1, BLOCK_ROWS])
def test_no_position_sees_a_later_one(position: int) -> None:
    qkv, _ = inputs(2 * BLOCK_ROWS)
    causal_attention(qkv, HEADS)[:, position].square().sum().backward()
    assert qkv.grad is not None
    reached = qkv.grad.abs().sum(dim=(0, 2)) > 0
    assert reached.tolist() == [i <= position for i in range(2 * BLOCK_ROWS)]
