"""How much is computed at once: bounded by its tokens, never less than one sequence."""

from __future__ import annotations

import torch

from paramalloc.numerics import scoring_batch_size


def test_a_scoring_batch_has_as_many_sequences_as_its_tokens_allow_but_one_at_least() -> None:
    for device, tokens in {"cpu": 2_048, "cuda": 32_768}.items():
        sequences = scoring_batch_size(500, torch.device(device))
        assert sequences * 500 <= tokens < (sequences + 1) * 500
    assert scoring_batch_size(8_192, torch.device("cpu")) == 1
