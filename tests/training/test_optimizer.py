"""The optimiser: PyTorch's own to the last bit, without what PyTorch imports to guard it against being compiled."""

from __future__ import annotations

import subprocess
import sys

import torch

from paramalloc.training.optimizer import LightAdamW

FRESH = """
import sys, tempfile
from pathlib import Path
from tests.training.test_loop import trainer
run = trainer(Path(tempfile.mkdtemp()))
run.train()
run.optimizer.load_state_dict(run.optimizer.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""


def trained(kind: type[torch.optim.AdamW]) -> tuple[torch.nn.Linear, torch.optim.AdamW]:
    """Four updates of a small layer in two groups, cut in the middle and carried on from the saved state."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 8)
    groups = [{"params": [layer.weight], "weight_decay": 0.1}, {"params": [layer.bias], "weight_decay": 0.0}]
    optimizer = kind(groups, lr=1e-2, betas=(0.9, 0.95), fused=True)
    for step in range(4):
        layer(torch.randn(4, 8)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step == 1:
            state = optimizer.state_dict()
            optimizer = kind(groups, lr=1e-2, betas=(0.9, 0.95), fused=True)
            optimizer.load_state_dict(state)
    return layer, optimizer


def test_updates_and_state_are_those_of_pytorchs_own() -> None:
    (ours, optimizer), (theirs, plain) = trained(LightAdamW), trained(torch.optim.AdamW)
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)
    mine, their = optimizer.state_dict(), plain.state_dict()
    assert mine["param_groups"] == their["param_groups"]
    for index, moments in their["state"].items():
        for name, value in moments.items():
            assert torch.equal(mine["state"][index][name], value)
    assert ours.weight.grad is theirs.weight.grad is None


def test_a_process_that_trains_does_not_import_the_compiler() -> None:
    """In a process of its own: others here may have imported it."""
    assert subprocess.run([sys.executable, "-c", FRESH], check=False).returncode == 0
