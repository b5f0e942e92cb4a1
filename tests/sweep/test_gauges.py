"""What a sweep shows live: its figures on Ray's metrics port, and a dashboard that asks for these and no others."""

from __future__ import annotations

import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray
from rich.console import Console

import cluster
from cost import ledger
from paramalloc.config import CostConfig, SweepConfig
from paramalloc.results import FINISHED, KILLED, RANKING, ResultsFolder
from paramalloc.sweep.display import running_total
from paramalloc.sweep.driver import run_sweep
from paramalloc.sweep.gauges import GAUGES, STATES, Reading, burn_usd_per_hour, readings
from paramalloc.sweep.journal import TRIAL_LOST, Journal
from paramalloc.sweep.machines import nodes
from paramalloc.sweep.outlook import Outlook
from paramalloc.sweep.trials.state import RUNNING, WAITING, TrialState

DASHBOARD = Path(cluster.__file__).with_name("grafana.json")
PATIENCE_SECONDS = 60
HOUR = 3_600.0


class Sweep:
    """Two rented machines and one that is gone, for an hour, at prices that the test knows."""

    def __init__(self, root: Path) -> None:
        self.now = 1_000.0
        self.journal = Journal(ResultsFolder(root), CostConfig(), lambda text: None, lambda: self.now)
        for name, usd in (("a", 0.5), ("b", 0.25), ("gone", 4.0)):
            about = {"kind": "worker", "gpus": 1.0, "cpus": 4.0, "instance_type": name, "zone": "z"}
            self.journal.bill(ledger.node_up, node=name, lifecycle="spot", **about)
            self.journal.bill(lambda **fields: ledger.price(time=fields["time"], node=name, usd_per_hour=usd))  # noqa: B023
        self.now += HOUR / 2
        self.journal.bill(ledger.node_down, node="gone", why="ours")
        self.now += HOUR / 2

    def bill(self) -> dict[str, Any]:
        return self.journal.bill_now({})


def trial(status: str, speed: float | None = None) -> TrialState:
    return cast(TrialState, SimpleNamespace(status=status, tokens_per_second=speed))


def by_name(found: list[Reading]) -> dict[Any, float]:
    return {(one.name.removeprefix("paramalloc_"), one.state): one.value for one in found}


def test_money_speed_and_trials_become_readings(tmp_path: Path) -> None:
    """By hand: an hour of 0.50 and 0.25 and half an hour of 4 are 2.75; then the two that are left burn 0.75."""
    sweep = Sweep(tmp_path)
    sweep.journal.tokens = {(RANKING, "base"): 1_000}
    sweep.journal.look_ahead = lambda: Outlook({}, {(RANKING, "wide"): 2_000})
    about = {"stage": RANKING, "trial": "base", "variant": "base"}
    sweep.journal.bill(ledger.trial_start, time=1_000.0, node="a", share=1.0, **about)
    trials = [trial(RUNNING, 100.0), trial(RUNNING, 50.0), trial(WAITING, 9.0), trial(KILLED, 9.0), trial(RUNNING)]
    found = by_name(readings(sweep.bill(), {"a", "b"}, trials, preemptions=2))
    assert found["spent_usd", None] == 2.75
    assert found["budget_usd", None] == 50.0
    assert found["burn_usd_per_hour", None] == 0.75
    assert found["projected_usd", None] == 8.25  # a thousand tokens have cost 2.75
    assert found["preemptions", None] == 2
    assert found["tokens_per_second", None] == 150.0
    states = {state: value for (name, state), value in found.items() if name == "trials"}
    assert states == {**dict.fromkeys(STATES, 0), RUNNING: 3, WAITING: 1, KILLED: 1}


def test_what_nobody_knows_is_absent(tmp_path: Path) -> None:
    assert {name for name, _ in by_name(readings(None, set(), [], 0))} == {
        "preemptions",
        "tokens_per_second",
        "trials",
    }
    sweep = Sweep(tmp_path)
    sweep.journal.bill(ledger.node_up, node="c", kind="worker", gpus=1.0, cpus=4.0, lifecycle="spot")
    sweep.now += 1.0
    assert burn_usd_per_hour(sweep.bill(), {"a", "c"}) is None
    assert burn_usd_per_hour(sweep.bill(), {"a", "not yet in the bill"}) is None
    assert ("projected_usd", None) not in by_name(readings(sweep.bill(), {"a", "c"}, [], 0))


def test_preemptions_are_counted_over_all_sessions(tmp_path: Path) -> None:
    Sweep(tmp_path).journal.tell(TRIAL_LOST, "lost")
    sweep = Sweep(tmp_path)
    sweep.journal.tell(TRIAL_LOST, "lost")
    assert sweep.journal.preemptions() == 2


def test_the_running_total_is_one_phrase_and_nothing_where_nothing_is_paid(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path)
    assert running_total(None) == ""
    assert running_total(sweep.bill()) == "$2.75 of $50.00 spent"
    sweep.journal.look_ahead = lambda: Outlook({}, {})
    assert running_total(sweep.bill()) == "$2.75 of $50.00 spent, about $2.75 in the end"
    sweep.journal.bill(ledger.node_up, node="c", kind="worker", gpus=1.0, cpus=4.0, lifecycle="spot")
    sweep.now += 1.0
    assert running_total(sweep.bill()).startswith("at least $2.75 of $50.00")
    free = Journal(ResultsFolder(tmp_path / "free"), CostConfig(), lambda text: None, lambda: sweep.now)
    free.bill(ledger.node_up, node="own", kind="head", gpus=0.0, cpus=2.0)
    sweep.now += HOUR
    assert running_total(free.bill_now({})) == ""


def on_the_port() -> dict[tuple[str, str | None], float]:
    """The gauges of the sweep `tiny` on the metrics port of this machine's Ray, by name and state."""
    (node,) = [node for node in ray.nodes() if node["Alive"]]
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(address, timeout=10) as answer:
            text = answer.read().decode()
    except urllib.error.URLError:
        return {}
    found = {}
    for name, labels, value in re.findall(r"^ray_(paramalloc_\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        label = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        if label["sweep"] == "tiny":
            found[name, label.get("state") or None] = float(value)
    return found


@pytest.mark.long
def test_a_sweep_puts_its_figures_on_rays_metrics_port(
    tmp_path: Path, tiny: Callable[..., SweepConfig], local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray exports them every ten seconds, and keeps the last as long as the driver's process is there."""
    monkeypatch.setattr(nodes, "HEARTBEAT_SECONDS", 0.5)
    config = tiny(
        experiments=[{"name": "base"}, {"name": "wide", "glu_expansion": 4.0}],
        ranking={"tokens": 8_000, "kill_rule": {"enabled": False}},
        finalists={"count": 1, "seeds": [0]},
        sanity={"enabled": False},
        cost={"fixed_usd_per_hour": 3600.0, "budget_usd": 5_000.0},
    )
    with (tmp_path / "said").open("w") as stream:
        assert run_sweep(config, ResultsFolder(tmp_path / "tiny"), Console(file=stream), verbose=False) == 0
    over = threading.Event()
    for _ in range(PATIENCE_SECONDS):
        found = on_the_port()
        if found.get(("paramalloc_trials", FINISHED)) == 4:
            break
        over.wait(1.0)
    assert {name for name, _ in found} == set(GAUGES)
    assert {state for name, state in found if name == "paramalloc_trials"} == set(STATES)
    assert found["paramalloc_trials", FINISHED] == 4
    assert found["paramalloc_budget_usd", None] == 5_000
    assert found["paramalloc_burn_usd_per_hour", None] == 3_600
    assert 0 < found["paramalloc_spent_usd", None] < 5_000


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(DASHBOARD.read_text(encoding="utf-8")))


def test_the_dashboard_asks_for_every_gauge_and_for_no_other(dashboard: dict[str, Any]) -> None:
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [item["definition"] for item in dashboard["templating"]["list"] if item["name"] == "sweep"]
    named = {name for text in asked for name in re.findall(r"\bray_\w+", text)}
    assert named == {f"ray_{name}" for name in GAUGES}
    assert all('sweep="$sweep"' in target["expr"] for panel in dashboard["panels"] for target in panel["targets"])


def test_the_dashboards_panels_have_places_of_their_own(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        for panel in panels
        for at in [panel["gridPos"]]
    ]
    assert not any(one & other for one, other in combinations(cells, 2))
    assert all(x < 24 for cell in cells for x, _ in cell)
