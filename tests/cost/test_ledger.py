"""The vocabulary of events.jsonl: rows are checked when written and when read, and order never matters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cost import CostError, ledger

NODE = {"node": "n1", "kind": "worker", "gpus": 1, "cpus": 4}
TRIAL = {"node": "n1", "stage": "ranking", "trial": "emb35"}
START = {**TRIAL, "variant": "emb35", "share": 0.5}


def at(time: float, **fields: Any) -> dict[str, Any]:
    return {"time": time, "session": "s1", **fields}


def test_every_row_survives_the_way_through_a_file(tmp_path: Path) -> None:
    rows = [
        ledger.session_start(**at(0)),
        ledger.node_up(**at(1, **NODE, instance_type="g5.xlarge", zone="us-east-1a", lifecycle="spot")),
        ledger.price(time=1, usd_per_hour=0.4, instance_type="g5.xlarge", zone="us-east-1a"),
        ledger.trial_start(**at(2, **START)),
        ledger.heartbeat(**at(3)),
        ledger.trial_end(**at(4, **TRIAL, status="interrupted", lost_seconds=1.5)),
        ledger.node_down(**at(5, node="n1", why="spot notice")),
        ledger.session_end(**at(6)),
    ]
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    events = ledger.parse(ledger.read_rows(path))
    assert [{"event": event.event, **vars(event)} for event in events] == rows
    assert [row["event"] for row in rows] == [
        *("session_start", "node_up", "price", "trial_start", "heartbeat", "trial_end", "node_down"),
        "session_end",
    ]


def test_order_and_repetition_of_rows_do_not_matter() -> None:
    rows = [ledger.heartbeat(**at(time)) for time in (1, 2, 3)]
    assert ledger.parse([*reversed(rows), *rows]) == ledger.parse(rows)
    assert len(ledger.parse(rows * 2)) == 3


def test_other_rows_and_unknown_fields_are_left_alone() -> None:
    row = ledger.heartbeat(**at(1))
    others = [{"event": "spot_notice", "time": "soon"}, {"time": 1.0}, {"event": ["heartbeat"]}]
    assert ledger.parse([*others, row | {"colour": "red"}]) == ledger.parse([row])


def test_a_torn_line_spoils_only_itself(tmp_path: Path) -> None:
    whole = json.dumps(ledger.heartbeat(**at(1)))
    (tmp_path / "events.jsonl").write_text(f'{whole}\n{whole[:20]}\n\n"text"\n{whole}')
    assert ledger.read_rows(tmp_path / "events.jsonl") == [json.loads(whole)] * 2


@pytest.mark.parametrize(
    ("row", "field", "got"),
    [
        (at(1, event="trial_start", **START) | {"share": 1.5}, "share", "1.5"),
        (at(1, event="trial_start", **START) | {"share": "half"}, "share", "'half'"),
        (at(1, event="trial_end", **TRIAL, status="won"), "status", "'won'"),
        (at(1, event="trial_end", **TRIAL, status="killed", lost_seconds=-1), "lost_seconds", "-1"),
        (at(1, event="node_up", **NODE) | {"kind": "boss"}, "kind", "'boss'"),
        (at(1_700_000_000_000, event="heartbeat"), "time", "1700000000000"),
        ({"event": "price", "time": 1.0, "usd_per_hour": float("inf"), "node": "n1"}, "usd_per_hour", "inf"),
        ({"event": "heartbeat", "time": 1.0}, "session", "nothing"),
        ({"event": "price", "time": 1.0, "usd_per_hour": -0.1, "node": "n1"}, "usd_per_hour", "-0.1"),
        ({"event": "price", "time": 1.0, "usd_per_hour": True, "node": "n1"}, "usd_per_hour", "True"),
        ({"event": "price", "time": 1.0, "usd_per_hour": 1.0, "zone": "us-east-1a"}, "row", "us-east-1a"),
    ],
)
def test_a_row_that_cannot_be_right_names_its_event_and_field(row: dict[str, Any], field: str, got: str) -> None:
    with pytest.raises(CostError) as caught:
        ledger.parse([row])
    assert caught.value.place == f"events: {row['event']} at {row['time']}: {field}"
    assert got in caught.value.got


def test_a_wrong_row_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="share"):
        ledger.trial_start(**at(1, **START) | {"share": 2.0})
