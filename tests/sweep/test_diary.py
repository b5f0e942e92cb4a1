"""The diary as it grows: every whole row once, and of one trial all that its share of the bill depends on."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings

from cost.bill import make_bill
from cost.ledger import parse
from cost.one_trial import usd_of_trial
from paramalloc.files import append_jsonl, write_jsonl
from paramalloc.sweep.diary import Diary
from tests.cost.test_properties import Sweep, sweeps


def test_each_row_is_read_once_and_a_torn_line_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    diary = Diary(path)
    assert diary.rows() == []
    append_jsonl(path, {"event": "a", "time": 1.0})
    with path.open("a") as stream:
        stream.write('{"event": "torn", "ti')
    assert [row["event"] for row in diary.rows()] == ["a"]
    append_jsonl(path, {"event": "b", "time": 2.0})
    append_jsonl(path, {"event": "b", "time": 3.0})
    assert [row["time"] for row in diary.rows()] == [1.0, 2.0, 3.0]
    assert diary.counts == {"a": 1, "b": 2}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sweeps())
def test_the_rows_of_one_trial_give_the_same_charges_as_all_rows(tmp_path: Path, sweep: Sweep) -> None:
    path = tmp_path / "events.jsonl"
    write_jsonl(path, sweep.rows())
    diary = Diary(path)
    bill = make_bill(parse(diary.rows()), sweep.fixed)
    for trial in bill.trials:
        name = (trial.stage, trial.trial)
        alone = make_bill(parse(diary.bill_of_trial(name)), sweep.fixed)
        assert [one for one in alone.charges if one.trial == trial] == [
            one for one in bill.charges if one.trial == trial
        ]


def test_what_a_trial_without_a_machine_cost_is_unknown(tmp_path: Path) -> None:
    assert usd_of_trial(Diary(tmp_path / "none.jsonl").bill_of_trial(("ranking", "a")), ("ranking", "a"), 1.0) is None
