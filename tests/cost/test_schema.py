"""The JSON Schema of COST_SUMMARY.json: what is written satisfies it, and it would notice if it did not."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings

from cost import ledger, summarize
from cost.bill import USES

from .test_properties import any_rows

Row = dict[str, Any]
jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is needed to check the schema")

SCHEMA = json.loads((importlib.resources.files("cost") / "cost_summary.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def full() -> Row:
    """A summary with something of everything: a kill, a free hour, a stale price, an unknown one, a projection."""
    spot = {"kind": "worker", "gpus": 1, "cpus": 4, "lifecycle": "spot", "instance_type": "t", "zone": "za"}
    place = {"session": "s", "node": "n"}
    trial = {**place, "stage": "r", "trial": "a"}
    rows = [
        ledger.node_up(time=60, launched_at=0.0, **place, **spec_of(spot)),
        ledger.trial_start(time=100, **trial, variant="a", share=0.5),
        ledger.trial_end(time=900, **trial, status="killed"),
        ledger.node_down(time=1000, **place, why="aws"),
        ledger.node_up(time=60, session="s", node="m", **spec_of(spot, zone="zb")),
        ledger.price(time=0, usd_per_hour=0.4, instance_type="t", zone="za", lifecycle="spot", source="EC2"),
        ledger.price(time=900, usd_per_hour=0.4, instance_type="t", zone="za", lifecycle="spot", stale=True),
        ledger.price(time=0, usd_per_hour=1.0, instance_type="t", zone="za", lifecycle="on-demand"),
        ledger.heartbeat(time=1100, session="s"),
    ]
    return summarize(
        rows,
        budget_usd=50.0,
        now=0.0,
        fixed_usd_per_hour=None,
        tokens_by_trial={("r", "a"): 1},
        budget_tokens_by_trial={("r", "a"): 3},
        remaining_tokens_by_trial={("f", "b"): 5},
    )


def spec_of(spec: Row, **fields: Any) -> Row:
    return spec | fields


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["properties"]["by_use"]["properties"]) == set(USES)


def test_real_summaries_satisfy_it() -> None:
    VALIDATOR.validate(json.loads(json.dumps(full(), allow_nan=False)))
    VALIDATOR.validate(summarize([], budget_usd=None, now=0.0, fixed_usd_per_hour=None))


@settings(max_examples=60, deadline=None)
@given(any_rows())
def test_whatever_happens_the_summary_satisfies_it(rows: list[Row]) -> None:
    tokens = {("x", "a"): 5, ("y", "b"): 0}
    counts = {"tokens_by_trial": tokens, "budget_tokens_by_trial": tokens, "remaining_tokens_by_trial": tokens}
    VALIDATOR.validate(summarize(rows, budget_usd=5.0, now=0.0, fixed_usd_per_hour=0.1, **counts))


def every_path(value: Any) -> list[tuple[Any, Any]]:
    """Each object of a document with each of its keys."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    own = [(value, key) for key in value] if isinstance(value, dict) else []
    return own + [pair for child in children for pair in every_path(child)]


def test_it_misses_every_field_that_is_left_out_and_knows_no_other() -> None:
    document = full()
    assert len(every_path(document)) > 100
    for parent, key in every_path(document):
        kept = dict(parent)
        del parent[key]
        optional = (
            key in USES and "usd" not in parent and set(parent) <= set(USES) and parent is not document["by_use"]
        )
        assert VALIDATOR.is_valid(document) == optional, key
        parent.clear()
        parent.update(kept | {"colour": "red"})
        assert not VALIDATOR.is_valid(document)
        parent.clear()
        parent.update(kept)
    VALIDATOR.validate(document)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda document: document.update(schema_version=1),
        lambda document: document.update(total_usd=-0.01),
        lambda document: document.update(total_usd="1.00"),
        lambda document: document.update(generated_at=None),
        lambda document: document["by_trial"][0].update(status="won"),
        lambda document: document["by_trial"][0].update(tokens=1.5),
        lambda document: document["by_node"][0]["usd_per_hour"].update(stale=None),
        lambda document: document["projection"].update(remaining_tokens=-1),
    ],
)
def test_it_notices_values_that_cannot_be_right(spoil: Callable[[Row], None]) -> None:
    document = full()
    spoil(document)
    assert not VALIDATOR.is_valid(document)
