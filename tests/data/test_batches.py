"""Batches: a pure function of (seed, step), each window once an epoch, targets one ahead."""

from __future__ import annotations

import numpy as np
import pytest

from paramalloc.data.batches import Batches
from paramalloc.errors import UserError

TOKENS = np.arange(1003, dtype=np.uint16)  # a token is its own position


def test_shapes_types_and_shift() -> None:
    inputs, targets = Batches(TOKENS, context_length=10, batch_size=7, seed=0).batch(3)
    assert inputs.shape == targets.shape == (7, 10)
    assert inputs.dtype == targets.dtype == np.int64
    np.testing.assert_array_equal(targets, inputs + 1)
    np.testing.assert_array_equal(np.diff(inputs, axis=1), 1)


def test_any_order_of_steps_gives_the_same() -> None:
    def make() -> Batches:
        return Batches(TOKENS, context_length=10, batch_size=7, seed=5)

    one = make()
    forwards = [one.batch(step)[0] for step in range(60)]  # several epochs
    for step in [59, 0, 14, 15, 14, 33, 2]:
        np.testing.assert_array_equal(one.batch(step)[0], forwards[step])
        np.testing.assert_array_equal(make().batch(step)[0], forwards[step])


@pytest.mark.parametrize("batch_size", [7, 100, 250])
def test_each_window_comes_once_an_epoch(batch_size: int) -> None:
    batches = Batches(TOKENS, context_length=10, batch_size=batch_size, seed=1)
    epochs = 10
    steps = -(-epochs * 100 // batch_size)
    starts = np.concatenate([batches.batch(step)[0][:, 0] for step in range(steps)])
    assert batches.windows_per_epoch == 100
    orders, offsets = set(), set()
    for epoch in range(epochs):
        windows = starts[epoch * 100 : (epoch + 1) * 100]
        offset = windows.min()
        np.testing.assert_array_equal(np.sort(windows), offset + 10 * np.arange(100))
        orders.add(tuple(windows))
        offsets.add(int(offset))
    assert len(orders) == epochs
    assert len(offsets) > 1
    assert offsets <= {0, 1, 2}


def test_seeds_give_different_orders() -> None:
    first, second = (Batches(TOKENS, 10, 50, seed).batch(0)[0] for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_the_last_token_is_a_target() -> None:
    batches = Batches(np.arange(41, dtype=np.uint32), context_length=20, batch_size=2, seed=0)
    assert batches.windows_per_epoch == 2
    assert batches.batch(0)[1].max() == 40


def test_too_little_text_is_refused() -> None:
    assert Batches(TOKENS[:11], 10, 1, 0).windows_per_epoch == 1
    with pytest.raises(UserError, match="train split of 10 tokens"):
        Batches(TOKENS[:10], 10, 1, 0)
