"""The chunked loss against PyTorch's on full logits: values, gradients, formats, ignored targets, memory."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from paramalloc import cross_entropy
from paramalloc.cross_entropy import IGNORED_TARGET, nats_per_token, summed_nats

ROWS, D_MODEL, VOCAB = 70, 12, 300


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(cross_entropy.CHUNK_ROWS, "cpu", 32)  # 70 rows: two whole chunks and a part


def operands() -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    hidden = torch.randn(ROWS, D_MODEL, generator=random).requires_grad_()
    weight = torch.randn(VOCAB, D_MODEL, generator=random).requires_grad_()
    targets = torch.randint(VOCAB, (ROWS,), generator=random)
    targets[[3, 40]] = IGNORED_TARGET
    return hidden, weight, targets


def reference(hidden: Tensor, weight: Tensor, targets: Tensor, reduction: str = "sum") -> Tensor:
    return F.cross_entropy(
        F.linear(hidden, weight).float(), targets, ignore_index=IGNORED_TARGET, reduction=reduction
    )


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(None, {"rtol": 1e-5, "atol": 1e-5}), (torch.bfloat16, {"rtol": 2e-2, "atol": 6e-2})]
)
def test_values_and_gradients_are_those_of_full_logits(
    dtype: torch.dtype | None, tolerance: dict[str, float]
) -> None:
    hidden, weight, targets = operands()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        expected, loss = reference(hidden, weight, targets), summed_nats(hidden, weight, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, rtol=1e-3 if dtype else 1e-6, atol=0)
    wanted = torch.autograd.grad(expected / 7, (hidden, weight))
    for gradient, value in zip(torch.autograd.grad(loss / 7, (hidden, weight)), wanted, strict=True):
        assert gradient.dtype == value.dtype
        torch.testing.assert_close(gradient, value, **tolerance)


def test_an_ignored_target_gets_no_gradient() -> None:
    hidden, weight, targets = operands()
    gradient, _ = torch.autograd.grad(summed_nats(hidden, weight, targets), (hidden, weight))
    assert [row for row in range(ROWS) if not gradient[row].any()] == [3, 40]


def test_each_token_costs_what_it_does_with_full_logits_and_ignored_ones_nothing() -> None:
    hidden, weight, targets = operands()
    per_token = nats_per_token(hidden, weight, targets)
    torch.testing.assert_close(per_token, reference(hidden, weight, targets, "none"))
    with torch.no_grad():
        torch.testing.assert_close(summed_nats(hidden, weight, targets), per_token.sum())


def test_a_table_that_is_embedding_and_head_gets_the_gradient_of_both_uses() -> None:
    _, table, targets = operands()
    tokens = targets.clamp(min=0).roll(1)
    expected = torch.autograd.grad(reference(table[tokens], table, targets), table)
    torch.testing.assert_close(torch.autograd.grad(summed_nats(table[tokens], table, targets), table), expected)


def test_in_fp16_a_scaled_loss_loses_no_small_gradient() -> None:
    """A gradient below fp16's smallest number, 6e-8, survives because the scale is applied before rounding."""
    hidden = torch.zeros(1, 4, requires_grad=True)
    weight = torch.tensor([[0.0] * 4, [-18.0, 0, 0, 0]]).requires_grad_()
    with torch.no_grad():
        hidden[0, 0] = 1.0
    with torch.autocast("cpu", dtype=torch.float16):
        loss = summed_nats(hidden, weight, torch.tensor([0])) * 2.0**16
    assert torch.autograd.grad(loss, weight)[0][1, 0] > 0


def test_a_loss_that_is_not_finite_says_so_and_spoils_the_gradient() -> None:
    hidden, weight, targets = operands()
    with torch.no_grad():
        hidden[5, 0] = float("nan")
    loss = summed_nats(hidden, weight, targets)
    assert loss.isnan()
    assert torch.autograd.grad(loss, weight)[0].isnan().any()


def test_logits_of_one_chunk_are_the_most_that_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, targets = operands()
    held: list[int] = []
    log_softmax = F.log_softmax
    monkeypatch.setattr(F, "log_softmax", lambda x, dim: (held.append(len(x)), log_softmax(x, dim))[1])
    loss = summed_nats(hidden, weight, targets)
    assert held == [32, 32, 6]
    kept = sum(tensor.numel() for tensor in loss.grad_fn.saved_tensors)
    assert kept == hidden.numel() + weight.numel()
