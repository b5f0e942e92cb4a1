"""What held-out scores are quoted in: nats per token, perplexity, bits per byte, perplexity per word. No torch.

Always holds: a perplexity is finite for every finite loss, since it stops at exp(20); `is_capped` tells such a value
from a measured one, in a running trial as well as in a results file, and a reader is shown `> 4.9e8` for it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from paramalloc.data.token_set import HeldOut

# For an interval over documents; with fewer it is soon twice as wide as need be and covers the truth too seldom.
MIN_DOCUMENTS = 10

MAX_EXPONENT = 20.0  # exp(20) is 485 million: above it a perplexity says nothing, and exp may overflow
MAX_PERPLEXITY = math.exp(MAX_EXPONENT)


def perplexity(nats_per_unit: float) -> float:
    """exp, capped at exp(20) so that a hopeless model has a large finite value; NaN stays NaN."""
    return math.exp(min(nats_per_unit, MAX_EXPONENT)) if nats_per_unit == nats_per_unit else math.nan


def is_capped(ppl: float) -> bool:
    """Whether a perplexity only says "more than exp(20)". JSON keeps the value exactly, so files may be asked too."""
    return ppl >= MAX_PERPLEXITY


@dataclass(frozen=True)
class Score:
    """Total surprise of some text, and the text's size in three units.

    Source of the ratios: bits per byte is nats / (ln 2 * bytes), perplexity exp(nats / tokens), word perplexity
    exp(nats / words), words being separated by white space (Gao et al. 2020, section 3.1; WikiText, Merity 2016).
    """

    nats: float
    tokens: int
    bytes: int
    words: int

    @classmethod
    def of(cls, nats: np.ndarray, held_out: HeldOut) -> Score:
        """The sum over all documents of `held_out`, given the nats of each, (D,)."""
        return cls(
            nats=float(nats.sum()),
            tokens=len(held_out.tokens),
            bytes=int(held_out.bytes_per_document.sum()),
            words=int(held_out.words_per_document.sum()),
        )

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens

    @property
    def ppl(self) -> float:
        return perplexity(self.loss)

    @property
    def bpb(self) -> float:
        return self.nats / (math.log(2) * self.bytes)

    @property
    def word_ppl(self) -> float:
        return perplexity(self.nats / self.words)
