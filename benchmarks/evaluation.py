"""Scoring speed: held-out tokens per second and SmallBench items per second, against the plain ways.

Always holds: both ways give the same scores (checked in every run, within 1e-4 relative); they take turns, medians
count. Plain is full logits over the same windows, and for SmallBench one choice at a time.

    python -m benchmarks.evaluation [--quick] [--json] [--threads N]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Console

from benchmarks import common
from paramalloc.allocation import solve
from paramalloc.config import ModelConfig

if TYPE_CHECKING:
    import numpy as np

    from paramalloc.model import Transformer

    Scores = Callable[[], np.ndarray]

_DOCUMENTS, _QUICK_DOCUMENTS = 24, 8  # of one context each
_PROBES, _QUICK_PROBES = 48, 16  # with two choices
_ROUNDS, _QUICK_ROUNDS = 5, 2
_BATCH = 8  # of the plain loop
_MOST_DIFFERENCE = 1e-4


def token_scoring(model: Transformer, documents: int) -> dict[str, Scores]:
    """Nats of each document, (D,), by our way and the plain one; a document is one context of random tokens."""
    import numpy as np
    import torch
    import torch.nn.functional as F

    from paramalloc.data.token_set import HeldOut
    from paramalloc.evaluation.perplexity import nats_per_document
    from paramalloc.numerics import Numerics

    length, numerics = model.shape.context_length, Numerics(torch.device("cpu"), "fp32")
    tokens = np.random.default_rng(0).integers(1, model.shape.vocab_size, documents * length).astype(np.uint16)
    ones = np.ones(documents, dtype=np.int64)
    held_out = HeldOut(tokens, np.arange(documents + 1) * length, ones, ones)

    @torch.inference_mode()
    def plain() -> np.ndarray:
        rows = torch.from_numpy(tokens.astype(np.int64)).view(documents, length)
        inputs = F.pad(rows[:, :-1], (1, 0))  # end-of-text, id 0, before each
        nats = [
            F.cross_entropy(model(x).transpose(1, 2), y, reduction="none").sum(1)
            for x, y in zip(inputs.split(_BATCH), rows.split(_BATCH), strict=True)
        ]
        return torch.cat(nats).double().numpy()

    return {"ours": lambda: nats_per_document(model, held_out, 0, numerics), "plain": plain}


def probe_scoring(model: Transformer, probes: int) -> dict[str, Scores]:
    """Log-likelihoods of the two choices of each probe, flat, by our way and the plain one."""
    import numpy as np
    import torch

    from paramalloc.data.probes import Probe
    from paramalloc.data.tokenizer import END_OF_TEXT_ID, train_tokenizer
    from paramalloc.evaluation.smallbench.scoring import score_probes
    from paramalloc.numerics import Numerics

    words = [f"word{number}" for number in range(40)]
    tokenizer = train_tokenizer([" ".join([*words, "yes", "no"])] * 3, 280)
    dice, numerics = np.random.default_rng(0), Numerics(torch.device("cpu"), "fp32")
    contexts = [" ".join(dice.choice(words, size)) for size in dice.integers(8, 32, probes)]
    items = [Probe(f"made-{i}", context, (" yes", " no"), 0, "") for i, context in enumerate(contexts)]

    @torch.inference_mode()
    def plain() -> np.ndarray:
        return np.array([one(context, choice) for context in contexts for choice in (" yes", " no")])

    def one(context: str, choice: str) -> float:
        stem, whole = tokenizer.encode(context).ids, tokenizer.encode(context + choice).ids
        answer = whole[len(stem) :]
        inputs = (stem + answer)[-(model.shape.context_length + 1) : -1]
        logits = model(torch.tensor([inputs]))[0, -len(answer) :]
        return logits.log_softmax(-1)[range(len(answer)), answer].double().sum().item()

    def ours() -> np.ndarray:
        return score_probes(model, tokenizer, items, END_OF_TEXT_ID, numerics).ravel()

    return {"ours": ours, "plain": plain}


def speeds(ways: dict[str, Scores], amount: int, rounds: int) -> dict[str, float]:
    """`amount` over the median seconds of each way. Errors: RuntimeError when their scores differ."""
    scores = {name: way() for name, way in ways.items()}
    difference = abs(scores["ours"] / scores["plain"] - 1).max()
    if not difference <= _MOST_DIFFERENCE:
        raise RuntimeError(f"scores differ by {difference:.2g} relative, allowed is {_MOST_DIFFERENCE:g}")
    samples = common.in_turns(
        {name: partial(common.seconds_of, way) for name, way in ways.items()}, rounds, warmups=0
    )
    return {name: amount / seconds for name, seconds in common.medians(samples).items()}


def figures_of(tokens: dict[str, float], items: dict[str, float]) -> dict[str, Any]:
    return {
        "tokens_per_second": tokens,
        "smallbench_items_per_second": items,
        "ratio_vs_best_peer": common.ratio_vs_best_peer(tokens["ours"], [tokens["plain"]]),
        "smallbench_ratio_vs_best_peer": common.ratio_vs_best_peer(items["ours"], [items["plain"]]),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = common.argument_parser(__doc__)
    parser.add_argument("--total-params", type=int, default=10_000_000)
    parser.add_argument("--vocab-size", type=int, default=16_000)
    parser.add_argument("--context", type=int, default=256)
    options = parser.parse_args(arguments)
    common.pin_threads(options.threads)
    import torch

    from paramalloc.model import Transformer

    torch.set_num_threads(options.threads)
    config = ModelConfig(
        total_params=options.total_params, vocab_size=options.vocab_size, context_length=options.context
    )
    model = Transformer(solve(config)).eval()
    rounds = _QUICK_ROUNDS if options.quick else _ROUNDS
    documents = _QUICK_DOCUMENTS if options.quick else _DOCUMENTS
    probes = _QUICK_PROBES if options.quick else _PROBES
    tokens = speeds(token_scoring(model, documents), documents * options.context, rounds)
    items = speeds(probe_scoring(model, probes), probes, rounds)
    figures = figures_of(tokens, items)
    common.print_table(
        Console(),
        f"Evaluation, fp32, T = {options.context}, {options.threads} thread(s)",
        ("what", "ours", "plain", "ours is"),
        [
            ("held-out tokens/s", tokens["ours"], tokens["plain"], f"{figures['ratio_vs_best_peer']:.2f} x"),
            (
                "SmallBench items/s",
                items["ours"],
                items["plain"],
                f"{figures['smallbench_ratio_vs_best_peer']:.2f} x",
            ),
        ],
        note="medians of rounds in turns; plain: full logits, SmallBench one choice at a time",
    )
    common.print_figures("evaluation", figures, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
