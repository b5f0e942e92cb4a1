"""The search for the sizes that meet a budget best; `paramalloc.allocation.solve` is the way in.

Always holds: the result is the optimum over the whole grid, the same request always gives the same sizes, and only
integers decide whether a total fits. Pure functions of a ModelConfig.

The grid is the same for every request: d_model from 8 in steps of 1 below 64, of 2 below 128, of 4 below 512, then in
powers of two between 1/128 and 1/64 of it, at most 64; d_ff in the step of its own size or of d_model, whichever
is finer; n_layers 1 to 1024. A given `n_heads` turns d_model's step into its next multiple of `n_heads`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import count
from typing import NamedTuple

from paramalloc.config import ModelConfig

MIN_D_MODEL = 8
MAX_LAYERS = 1024
MAX_EXPANSION = 64  # the most that a request can ask for

# Steps of 4 are fine enough at the widths of a 10M model; narrower ones need finer steps, or rounding alone
# would move the share by several percent. Wider ones can afford multiples that suit matrix units and heads.
_BOUNDS = (64, 128, 512, 1024, 2048, 4096)
_STEPS = (1, 2, 4, 8, 16, 32, 64)  # below each bound, and beyond the last


class Sizes(NamedTuple):
    """What the search decides; the number of heads follows from d_model."""

    d_model: int
    n_layers: int
    d_ff: int


class _Rank(NamedTuple):
    """Smaller is better; the fields that follow the first break ties, in this order."""

    off: float
    smaller_off: float
    total_off: int
    sizes: Sizes


def best_sizes(
    model: ModelConfig, limit: float, combine: Callable[[tuple[float, float]], float] = max
) -> Sizes | None:
    """The sizes whose total is within 0.5 % and which are least off the knobs, if that is within `limit`.

    The two deviations, both relative, are those of `vocab_size * d_model / total_params` from `embedding_ratio` and
    of `d_ff / d_model` from `glu_expansion`. The first takes the total that was asked for, so that the slack of the
    total is not charged to the share a second time. Ties go to the smaller of the two deviations, then the closer
    total, then the smaller d_model, n_layers and d_ff.

    Widths are tried in the order of their own deviation until it alone is worse than the best shape, depths only
    where some d_ff could still win; of one width and depth only a d_ff next to the ideal one can be best.

    Args:
        model: the request.
        limit: the largest deviation accepted; may be infinite.
        combine: `max` judges by the larger of the two deviations, `sum` by both together.
    """
    best: _Rank | None = None
    for share_off, d_model in _widths(model, limit):
        reach = best.off if best else limit
        if share_off > reach:
            break
        for n_layers in _depths(model, d_model, reach):
            for d_ff, total_off in _fitting_d_ff(model, d_model, n_layers):
                both = share_off, abs(d_ff / d_model / model.glu_expansion - 1)
                rank = _Rank(combine(both), min(both), total_off, Sizes(d_model, n_layers, d_ff))
                if rank.off <= limit and (best is None or rank < best):
                    best = rank
    return best.sizes if best else None


def smallest_sizes(model: ModelConfig) -> Sizes:
    """The least model that has the expansion asked for: one layer of the smallest width, whatever its total."""
    heads = _heads(model)
    widths = count(math.ceil(MIN_D_MODEL / heads) * heads, heads)
    d_model = next(width for width in widths if width % _width_step(width, heads) == 0)
    step = min(_step(d_model), _step(model.glu_expansion * d_model))
    return Sizes(d_model, 1, max(1, round(model.glu_expansion * d_model / step)) * step)


def ideal_d_model(model: ModelConfig) -> float:
    """The width at which the token table alone has exactly the share asked for."""
    return model.embedding_ratio * model.total_params / model.vocab_size


def _widths(model: ModelConfig, limit: float) -> list[tuple[float, int]]:
    """(relative deviation of the share, d_model) for each width within `limit`, the closest first."""
    ideal, heads = ideal_d_model(model), _heads(model)
    # one layer has at least 4 d^2 parameters, and a share of 1 or more can never be asked for
    largest = min(math.isqrt(model.total_params), (model.total_params - 1) // model.vocab_size)
    first = math.ceil(max(MIN_D_MODEL, ideal * (1 - limit)) / heads) * heads
    last = math.floor(min(largest, ideal * (1 + limit)))
    widths = (width for width in range(first, last + 1, heads) if width % _width_step(width, heads) == 0)
    return sorted((abs(width / ideal - 1), width) for width in widths)


def _depths(model: ModelConfig, d_model: int, reach: float) -> range:
    """The depths at which some real d_ff within `reach` of the ideal one meets the total."""
    room, slack = model.total_params - _outside_layers(model, d_model), _slack(model)
    ideal = model.glu_expansion * d_model
    first = math.ceil((room - slack) / _layer(d_model, ideal * (1 + reach)))
    last = math.floor((room + slack) / _layer(d_model, max(1.0, ideal * (1 - reach))))
    return range(max(1, first), min(MAX_LAYERS, last) + 1)


def _fitting_d_ff(model: ModelConfig, d_model: int, n_layers: int) -> Iterator[tuple[int, int]]:
    """(d_ff, distance from the total) on either side of the best d_ff, as far as the total allows them."""
    without_glu = _outside_layers(model, d_model) + n_layers * (4 * d_model * d_model + 4 * d_model)
    room, slack, per_channel = model.total_params - without_glu, _slack(model), 3 * n_layers * d_model
    least = max(1, -(-(room - slack) // per_channel))
    most = min(MAX_EXPANSION * d_model, (room + slack) // per_channel)
    best = min(max(model.glu_expansion * d_model, least), most)
    step = min(_step(d_model), _step(best))
    for d_ff in (math.floor(best / step) * step, math.ceil(best / step) * step):
        if least <= d_ff <= most:
            yield d_ff, abs(room - per_channel * d_ff)


def _slack(model: ModelConfig) -> int:
    return model.total_params // 200  # the hard 0.5 %


def _outside_layers(model: ModelConfig, d_model: int) -> int:
    """Parameters of the token table, an untied head, the positions and the final norm."""
    rows = model.vocab_size * (1 if model.tied else 2) + model.context_length
    return (rows + 2) * d_model


def _layer(d_model: int, d_ff: float) -> float:
    return 4 * d_model * d_model + 3 * d_model * d_ff + 4 * d_model


def _step(size: float) -> int:
    return _STEPS[bisect_right(_BOUNDS, size)]


def _width_step(d_model: int, heads: int) -> int:
    return math.ceil(_step(d_model) / heads) * heads


def _heads(model: ModelConfig) -> int:
    """What d_model has to be a multiple of."""
    return 1 if model.n_heads == "auto" else model.n_heads
