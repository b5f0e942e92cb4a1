"""Seconds from the start of a process to the end of its first training step, by part, against other loops.

Always holds: every round is a new process, which does nothing but what a training script has to; they take turns,
and the median of each part counts, so that parts need not add up to the median total exactly.

    python -m benchmarks.startup [--quick] [--json] [--threads N]
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

from rich.console import Console

from benchmarks import common

PARTS = ("interpreter", "imports", "model", "optimizer", "first step")
_ROUNDS, _QUICK_ROUNDS = 5, 1
_SHAPE = {"d_model": 220, "n_layers": 11, "n_heads": 10, "d_ff": 584, "vocab_size": 16_000, "context_length": 256}
_BATCH = 2  # sequences: the step itself is not what is measured
_CHILD = "--child"


def main(arguments: Sequence[str] | None = None) -> int:
    options = common.argument_parser(__doc__).parse_args(arguments)
    common.pin_threads(options.threads)
    rounds = _QUICK_ROUNDS if options.quick else _ROUNDS
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in _LOOPS}

    def start(name: str) -> float:
        """Total seconds of a new process."""
        taken[name].append(_parts(name))
        return sum(taken[name][-1].values())

    samples = common.in_turns({name: partial(start, name) for name in _LOOPS}, rounds)  # one to warm the disk
    totals = common.medians(samples)
    parts = {name: {part: median(row[part] for row in rows[1:]) for part in PARTS} for name, rows in taken.items()}
    common.print_table(
        Console(),
        f"Start-up, seconds to the end of the first step, {options.threads} thread(s)",
        ("loop", "total", *PARTS),
        [(name, totals[name], *parts[name].values()) for name in _LOOPS],
        note="medians over new processes in turns; the first AdamW imports PyTorch's compiler",
    )
    common.print_figures("startup", figures_of(totals, parts), options)
    return 0


def figures_of(totals: dict[str, float], parts: dict[str, dict[str, float]]) -> dict[str, Any]:
    peers = [seconds for name, seconds in totals.items() if name != "ours"]
    ratio = common.ratio_vs_best_peer(totals["ours"], peers, higher_is_better=False)
    return {"seconds": totals, "parts_seconds": parts, "ratio_vs_best_peer": ratio}


def _parts(name: str) -> dict[str, float]:
    """Seconds of each part in a new process."""
    begun = time.time()
    command = [sys.executable, "-m", "benchmarks.startup", _CHILD, name]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    marks = [begun, *json.loads(child.stdout.splitlines()[-1])]
    return {part: end - start for part, start, end in zip(PARTS, marks[:-1], marks[1:], strict=True)}


def _child(name: str) -> None:
    """Print the Unix seconds at which each part ended."""
    marks = [time.time()]
    _LOOPS[name](lambda: marks.append(time.time()))
    print(json.dumps(marks))


def _ours(mark: Callable[[], None]) -> None:
    import torch

    from paramalloc.allocation import Shape
    from paramalloc.config import TrainingConfig
    from paramalloc.model import Transformer
    from paramalloc.numerics import Numerics
    from paramalloc.training.memory import keep_freed_memory
    from paramalloc.training.probe import Probe

    keep_freed_memory()
    mark()
    model = Transformer(Shape(**_SHAPE, tied=True))
    mark()
    probe = Probe(model, TrainingConfig(), Numerics(torch.device("cpu"), "fp32"))
    mark()
    tokens = torch.zeros((_BATCH, _SHAPE["context_length"]), dtype=torch.long)
    probe.step(tokens, tokens, 1e-3)
    mark()


def _plain(mark: Callable[[], None]) -> None:
    import torch

    from benchmarks.plain_model import PlainTransformer
    from paramalloc.allocation import Shape

    mark()
    model = PlainTransformer(Shape(**_SHAPE, tied=True))
    mark()
    _step_by_hand(torch, model, mark)


def _llama(mark: Callable[[], None]) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    mark()
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=_SHAPE["vocab_size"],
            hidden_size=_SHAPE["d_model"],
            intermediate_size=_SHAPE["d_ff"],
            num_hidden_layers=_SHAPE["n_layers"],
            num_attention_heads=_SHAPE["n_heads"],
            tie_word_embeddings=True,
        )
    )
    mark()
    _step_by_hand(torch, model, mark)


def _step_by_hand(torch: Any, model: Any, mark: Callable[[], None]) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    mark()
    tokens = torch.zeros((_BATCH, _SHAPE["context_length"]), dtype=torch.long)
    output = model(tokens)
    logits = output if isinstance(output, torch.Tensor) else output.logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    mark()


_LOOPS: dict[str, Callable[[Callable[[], None]], None]] = {"ours": _ours, "plain": _plain, "llama": _llama}

if __name__ == "__main__":
    if sys.argv[1:2] == [_CHILD]:
        _child(sys.argv[2])
    else:
        sys.exit(main())
