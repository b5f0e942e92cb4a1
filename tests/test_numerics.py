"""How much is computed at once: bounded by the logits, never less than one sequence."""

from __future__ import annotations

import torch

from paramalloc.numerics import scoring_batch_size


def test_a_scoring_batch_has_as_many_sequences_as_the_logits_allow_but_one_at_least() -> None:
    megabytes = {"cpu": 64, "cuda": 1024}
    for device, bound in megabytes.items():
        sequences = scoring_batch_size(512, 16_000, torch.device(device))
        logit_mb = 512 * 16_000 * 4 / 2**20
        assert sequences * logit_mb <= bound < (sequences + 1) * logit_mb
    assert scoring_batch_size(8_192, 128_000, torch.device("cpu")) == 1
