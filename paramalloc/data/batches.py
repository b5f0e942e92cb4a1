"""Training batches as a pure function of (seed, step): random windows over the token stream, epoch after epoch.

Always holds: batch(step) depends on nothing but the arguments of the object and the step, so any step can be asked
for in any order, and a resumed run sees exactly what an undisturbed one does; within an epoch each window comes once.
"""

from __future__ import annotations

import numpy as np

from paramalloc.errors import UserError


class Batches:
    """Windows of `context_length` tokens from `tokens` (N,), `batch_size` a step, shuffled anew in every epoch.

    An epoch has W = (N - 1) // context_length windows; what is left over becomes a random offset of the epoch's grid,
    so that no token is left out for good. Step i takes windows i*B to i*B + B - 1 of the endless sequence of epochs.

    Errors: UserError when the text is shorter than one window.
    """

    def __init__(self, tokens: np.ndarray, context_length: int, batch_size: int, seed: int) -> None:
        self.windows_per_epoch = (len(tokens) - 1) // context_length
        if self.windows_per_epoch < 1:
            raise UserError(
                "model.context_length",
                f"{context_length:,} with a train split of {len(tokens):,} tokens",
                "give more text, or take a context below the length of the train split",
            )
        self._tokens, self._length, self._batch_size, self._seed = tokens, context_length, batch_size, seed
        self._epoch, self._starts = -1, np.empty(0, dtype=np.int64)

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets of one step, int64 (batch_size, context_length); targets are one token ahead."""
        first = step * self._batch_size
        starts: list[np.ndarray] = []
        position, end = first, first + self._batch_size
        while position < end:
            epoch, window = divmod(position, self.windows_per_epoch)
            taken = min(end - position, self.windows_per_epoch - window)
            starts.append(self._window_starts(epoch)[window : window + taken])
            position += taken
        span = np.concatenate(starts)[:, None] + np.arange(self._length + 1)  # (B, T + 1)
        windows = self._tokens[span].astype(np.int64)
        return windows[:, :-1], windows[:, 1:]

    def _window_starts(self, epoch: int) -> np.ndarray:
        """Where the windows of an epoch begin, in its order (W,); only the epoch asked for last is kept."""
        if epoch != self._epoch:
            random = np.random.Generator(np.random.Philox(key=[self._seed, epoch]))
            left_over = len(self._tokens) - 1 - self.windows_per_epoch * self._length
            offset = random.integers(left_over, endpoint=True)
            self._starts = offset + random.permutation(self.windows_per_epoch) * self._length
            self._epoch = epoch
        return self._starts
