"""Tokenizing speed in MB of text per second, against the library called plainly: one by one, and in batches.

Always holds: all give the same tokens (checked in every run); they take turns, medians count; the tokenizer is
trained on the text itself, which by default is the built-in corpus.

    python -m benchmarks.data [--text FILE] [--vocab-size 16000] [--quick] [--json]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from benchmarks import common
from paramalloc.data.documents import read_documents
from paramalloc.data.synthetic import SyntheticCorpus
from paramalloc.data.tokenizer import encode, train_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_BYTES, _QUICK_BYTES = 8_000_000, 500_000
_ROUNDS, _QUICK_ROUNDS = 5, 2


def ways(tokenizer: Tokenizer, documents: Sequence[str]) -> dict[str, Callable[[], list[list[int]]]]:
    """The token ids of each document, by our way and by two uses of the library."""
    return {
        "ours": lambda: [ids.tolist() for _, ids in encode(tokenizer, documents)],
        "plain loop": lambda: [tokenizer.encode(document).ids for document in documents],
        "library's batches": lambda: [encoding.ids for encoding in tokenizer.encode_batch(documents)],
    }


def figures_of(speeds: dict[str, float]) -> dict[str, Any]:
    peers = [speed for name, speed in speeds.items() if name != "ours"]
    return {"mb_per_second": speeds, "ratio_vs_best_peer": common.ratio_vs_best_peer(speeds["ours"], peers)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = common.argument_parser(__doc__)
    parser.add_argument("--text", type=Path, help="a .txt, .jsonl or parquet file instead of the built-in corpus")
    parser.add_argument(
        "--vocab-size", type=int, default=2_000, help="default: 2,000, which the built-in text allows"
    )
    options = parser.parse_args(arguments)
    common.pin_threads(options.threads)
    size = _QUICK_BYTES if options.quick else _BYTES
    documents = list(
        read_documents(options.text, "blank_line") if options.text else SyntheticCorpus(size, 0).documents("train")
    )
    tokenizer = train_tokenizer(documents, options.vocab_size)
    candidates = ways(tokenizer, documents)
    tokens = [way() for way in candidates.values()]
    if any(other != tokens[0] for other in tokens[1:]):
        raise RuntimeError("the ways disagree about the tokens")
    samples = common.in_turns(
        {name: partial(common.seconds_of, way) for name, way in candidates.items()},
        _QUICK_ROUNDS if options.quick else _ROUNDS,
        warmups=0,
    )
    megabytes = sum(len(document.encode()) for document in documents) / 1e6
    speeds = {name: megabytes / seconds for name, seconds in common.medians(samples).items()}
    common.print_table(
        Console(),
        f"Tokenizing {megabytes:.1f} MB, {options.vocab_size:,} tokens, {options.threads} thread(s)",
        ("way", "MB/s", "ours is"),
        [(name, speed, f"{speeds['ours'] / speed:.2f} x") for name, speed in speeds.items()],
        note="medians of rounds in turns",
    )
    common.print_figures("data", figures_of(speeds), options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
