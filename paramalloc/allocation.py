"""How a parameter budget is spent: the exact accounting of a shape, the shape that meets a request, and their table.

Always holds: a solved shape's total is within 0.5 % of the request and neither knob is more than 12 % off, or the
request is refused with the nearest shape named. `solve(ModelConfig(total_params=10_000_000, embedding_ratio=0.35))`;
pure integers and floats, no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import starmap
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from paramalloc.config import ModelConfig
from paramalloc.errors import UserError
from paramalloc.shape_solver import MAX_LAYERS, MIN_D_MODEL, Sizes, best_sizes, ideal_d_model, smallest_sizes
from paramalloc.tables import print_whole

MAX_KNOB_DEVIATION = 0.12
PREFERRED_HEAD_SIZE = 32
MIN_HEAD_SIZE = 16
_LESS_IN_TABLES = "a smaller vocab_size or context_length needs less"

_HEADERS = (
    "variant",
    "d_model",
    "layers",
    "heads",
    "d_ff",
    "token\ntable",
    "position\ntable",
    "attention",
    "glu",
    "norms",
    "head",
    "total",
    "token\nshare",
    "glu\nexpansion",
)


@dataclass(frozen=True)
class Shape:
    """Everything that fixes the size of one transformer; `tied` says that the head is the token table itself."""

    d_model: int
    n_layers: int
    n_heads: int
    d_ff: int
    vocab_size: int
    context_length: int
    tied: bool

    def params_by_component(self) -> dict[str, int]:
        """Parameters of each part. LayerNorms have scale and bias, nothing else has a bias; a tied head costs 0."""
        d, layers = self.d_model, self.n_layers
        return {
            "token_embedding": self.vocab_size * d,
            "position_embedding": self.context_length * d,
            "attention": layers * 4 * d * d,
            "glu": layers * 3 * d * self.d_ff,
            "norms": layers * 4 * d + 2 * d,
            "head": 0 if self.tied else self.vocab_size * d,
        }

    @property
    def total_params(self) -> int:
        return sum(self.params_by_component().values())

    @property
    def embedding_share(self) -> float:
        """The token table's part of the total as built; positions and an untied head count in the total only."""
        return self.vocab_size * self.d_model / self.total_params

    @property
    def glu_expansion(self) -> float:
        return self.d_ff / self.d_model

    @property
    def head_size(self) -> int:
        return self.d_model // self.n_heads


def solve(model: ModelConfig, place: str = "model") -> Shape:
    """The shape that meets the request best: total within 0.5 %, then the larger deviation of the knobs least.

    What is searched and how ties are broken stands in `paramalloc.shape_solver.best_sizes`.

    Args:
        model: the request.
        place: dotted path of the request in the sweep file, for the error.

    Errors: UserError when every shape of that total is more than 12 % off a knob; it names the nearest one and the
    request that leads there. The limit is below the 12.8 % from an expansion of 2.66 to one of 3.0, so that a sweep
    is not given another variant than it asked for, and admits nearly every model whose depth lies between one and
    two layers, where rounding it moves both knobs by up to that much.
    """
    sizes = best_sizes(model, MAX_KNOB_DEVIATION)
    if sizes is None:
        raise _refusal(model, place)
    return _shape(model, sizes)


def nearest_request(model: ModelConfig) -> ModelConfig | None:
    """The request nearest to this one that a shape meets exactly; None where no shape has such a total at all.

    Nearest: the larger of the relative deviations of share and expansion is least, however large.
    """
    sizes = best_sizes(model, math.inf)
    if sizes is None:
        return None
    share = model.vocab_size * sizes.d_model / model.total_params
    return model.model_copy(update={"embedding_ratio": share, "glu_expansion": sizes.d_ff / sizes.d_model})


def n_heads_for(d_model: int) -> int:
    """Heads whose size divides `d_model` and lies nearest 32; of two sizes as near, the larger.

    Sizes below 16 are left out for any wider model: 4 x a large prime would get dozens of heads of size 4.
    """
    sizes = (size for size in range(min(MIN_HEAD_SIZE, d_model), d_model + 1) if d_model % size == 0)
    return d_model // min(sizes, key=lambda size: (abs(size - PREFERRED_HEAD_SIZE), -size))


def flops_per_token(shape: Shape, context_length: int | None = None) -> int:
    """Training FLOPs, forward and backward, per token of a sequence of `context_length` (default: the shape's).

    6 for each parameter that a token is multiplied with, and 12 * n_layers * d_model * context_length for attention
    scores and their mixing (PaLM, Chowdhery et al. 2022, appendix B; Kaplan et al. 2020, section 2.1). Looking up
    tokens and positions is no matrix product, and norms are negligible: neither counts. A tied head is a product
    all the same and counts. As in PaLM, nothing is deducted for the causal mask.
    """
    length = shape.context_length if context_length is None else context_length
    params = shape.params_by_component()
    multiplied = params["attention"] + params["glu"] + shape.vocab_size * shape.d_model
    return 6 * multiplied + 12 * shape.n_layers * shape.d_model * length


def param_table(shapes: Mapping[str, Shape]) -> list[list[str]]:
    """A row of 14 cells per variant: name, sizes, parameters of each component, total, achieved share and expansion.

    Components have three digits (`3.52M`); the total has all of them.
    """
    return list(starmap(_row, shapes.items()))


def print_param_table(shapes: Mapping[str, Shape], console: Console | None = None) -> None:
    """Print `param_table` in at most 140 columns, or as many as the console has; names fold, digits are never cut."""
    console = console or Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, header in enumerate(_HEADERS):
        if index == 0:
            table.add_column(header, overflow="fold")
        else:
            table.add_column(header, justify="right", no_wrap=True)
    for row in param_table(shapes):
        table.add_row(*row)
    print_whole(table, console)


def _row(name: str, shape: Shape) -> list[str]:
    components = [_three_digits(count) for count in shape.params_by_component().values()]
    if shape.tied:
        components[-1] = "tied"
    return [
        name,
        *(str(size) for size in (shape.d_model, shape.n_layers, shape.n_heads, shape.d_ff)),
        *components,
        f"{shape.total_params:,}",
        f"{shape.embedding_share:.4f}",
        f"{shape.glu_expansion:.3f}",
    ]


def _three_digits(count: float) -> str:
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * unit:  # 999,600 reads 1M, not 1e+03k
            return f"{count / unit:.3g}{letter}"
    return f"{count:.0f}"


def _shape(model: ModelConfig, sizes: Sizes) -> Shape:
    n_heads = n_heads_for(sizes.d_model) if model.n_heads == "auto" else model.n_heads
    return Shape(
        sizes.d_model, sizes.n_layers, n_heads, sizes.d_ff, model.vocab_size, model.context_length, model.tied
    )


def _refusal(model: ModelConfig, place: str) -> UserError:
    """The error for a request that no shape meets: the knob to change, why, and the nearest request that works."""
    nearest = best_sizes(model, math.inf, combine=sum)  # moves one knob rather than both where it can
    if nearest is None:
        knob, advice = "total_params", _smallest_request(model)
        reason = (
            f"too few for any shape with vocab_size {model.vocab_size:,}, context_length {model.context_length:,}"
        )
    else:
        knob, advice = _missed_knob(model, nearest), f"the nearest that fits is {_request(model, nearest)}"
        if _spent(model).layers < 1 or ideal_d_model(model) < MIN_D_MODEL:
            advice += f"; {_LESS_IN_TABLES}"
        reason = f"but no shape comes within {MAX_KNOB_DEVIATION:.0%} of what is asked: {_arithmetic(model)}"
    if model.n_heads != "auto" and best_sizes(model.model_copy(update={"n_heads": "auto"}), MAX_KNOB_DEVIATION):
        knob, advice = "n_heads", f"`n_heads: auto` fits; with {model.n_heads} heads {advice}"
        reason = f"but no d_model divisible by it comes within {MAX_KNOB_DEVIATION:.0%} of what is asked"
    return UserError(f"{place}.{knob}", f"{getattr(model, knob):,}, {reason}", advice)


def _missed_knob(model: ModelConfig, nearest: Sizes) -> str:
    share_off = abs(nearest.d_model / ideal_d_model(model) - 1)
    expansion_off = abs(nearest.d_ff / nearest.d_model / model.glu_expansion - 1)
    return "embedding_ratio" if share_off >= expansion_off else "glu_expansion"


class _Spent(NamedTuple):
    """What a request amounts to: parameters of all tables and of one layer, and how many layers are left for."""

    tables: int
    layer: int
    layers: float


def _spent(model: ModelConfig) -> _Spent:
    d_model = max(1, round(ideal_d_model(model)))
    parts = _shape(model, Sizes(d_model, 1, round(model.glu_expansion * d_model))).params_by_component()
    tables = parts["token_embedding"] + parts["position_embedding"] + parts["head"]
    layer = parts["attention"] + parts["glu"] + parts["norms"]
    return _Spent(tables, layer, max(0.0, (model.total_params - tables) / layer))


def _arithmetic(model: ModelConfig) -> str:
    """What the request amounts to, so that a person sees which term is in the way."""
    spent = _spent(model)
    return (
        f"d_model (at least {MIN_D_MODEL}) would be about {ideal_d_model(model):,.1f}, all tables {spent.tables:,} "
        f"of {model.total_params:,} parameters, which leaves {spent.layers:,.1f} layers (1 to {MAX_LAYERS:,}) of "
        f"{spent.layer:,}"
    )


def _request(model: ModelConfig, sizes: Sizes) -> str:
    """The knobs that lead to these sizes at the total asked for, and the sizes."""
    share = model.vocab_size * sizes.d_model / model.total_params
    return (
        f"embedding_ratio {share:.4g}, glu_expansion {sizes.d_ff / sizes.d_model:.4g} "
        f"(d_model={sizes.d_model}, n_layers={sizes.n_layers}, d_ff={sizes.d_ff})"
    )


def _smallest_request(model: ModelConfig) -> str:
    sizes = smallest_sizes(model)
    total = _shape(model, sizes).total_params
    request = _request(model.model_copy(update={"total_params": total}), sizes)
    return f"the smallest total_params that fits is {total:,}, at {request}; {_LESS_IN_TABLES}"
